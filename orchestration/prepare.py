"""What a deployment runs before its own processes serve: `python -m orchestration.prepare services | worker`.

Belongs here: databases, extensions, buckets and the migrations of every schema on servers that are not ours to start;
and clearing up after a worker that is gone. Not here: the embedded stack (stack.py), what a migration does.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import typer

from orchestration.cli_stack import explained
from orchestration.postgres import prepare_databases
from orchestration.runners import fail_orphaned_runs
from orchestration.servers import prepare_buckets
from orchestration.settings import Settings, SettingsError, endpoints, load_settings
from orchestration.supervision import ServerError
from resources.warehouse import Warehouse, WarehouseError

app = typer.Typer(help="Prepare what a deployment's processes need.", no_args_is_help=True, add_completion=False)


def prepare_services(settings: Settings, tell: Callable[[str], None] = lambda _: None) -> None:
    """Create what is missing on configured servers and bring every schema to this version; again changes nothing.

    Dagster's instance is the one that DAGSTER_HOME names. MLflow's database is migrated where its tracking URI is a
    database; behind an http address it is its server's own affair.

    Args:
        settings: Must name a database and an object store.
        tell: Is given one line per step.

    Raises:
        SettingsError: a server is not configured.
        ServerError: a server cannot be reached, or refuses.
    """
    if settings.embeds_database or settings.embeds_object_store:
        raise SettingsError(
            "OFFERLINE_DATABASE_URL and OFFERLINE_S3_ENDPOINT must name servers: the embedded ones prepare themselves"
        )
    where = endpoints(settings)
    tell("databases and extensions")
    prepare_databases(where)
    tell(f"buckets {where.landing_bucket} and {where.artifacts_bucket}")
    prepare_buckets(where)
    tell("the catalogue's tables")
    try:
        Warehouse(where.database_url).migrate()
    except WarehouseError as error:
        raise ServerError(f"the catalogue's tables cannot be migrated: {error}") from error
    tell("Dagster's tables")
    with dg.DagsterInstance.get() as instance:
        instance.upgrade()
    if where.mlflow_tracking_uri.startswith("postgresql"):
        tell("MLflow's tables")
        _migrate_mlflow(where.mlflow_tracking_uri)


def _migrate_mlflow(database_url: str) -> None:
    from mlflow.db import upgrade

    upgrade.callback(database_url)  # by call: on a command line anybody could read the password


@app.command()
def services() -> None:
    """Create databases, extensions and buckets, and migrate every schema."""
    with explained():
        prepare_services(load_settings(), lambda step: typer.echo(f"preparing {step}"))
    typer.echo("everything is prepared")


@app.command()
def worker() -> None:
    """Fail the runs that died with the former code location; run it just before the code location starts."""
    with dg.DagsterInstance.get() as instance:
        for run_id in fail_orphaned_runs(instance):
            typer.echo(f"run {run_id} was in flight when the former code location ended: marked as failed")


@app.command()
def daemon(workspace: Path) -> None:
    """Fail the runs that died with the former daemon, then become Dagster's daemon for this workspace file."""
    worker()
    os.execv(sys.executable, [sys.executable, "-m", "dagster._daemon", "run", "-w", str(workspace)])  # noqa: S606


if __name__ == "__main__":
    app()
