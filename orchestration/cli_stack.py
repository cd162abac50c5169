"""The commands `up`, `down`, `status` and `psql`: the embedded stack at a person's hand.

Belongs here: what these commands print. Not here: how servers are started (stack.py), other commands (cli.py).
"""

import dataclasses
import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy.engine import make_url

from orchestration.postgres import psql_command, without_password
from orchestration.settings import Endpoints, Settings, StackNotStarted, UserError, endpoints, load_settings
from orchestration.stack import ServiceStatus, Stack
from orchestration.terminal import escape, print_json

if TYPE_CHECKING:
    from orchestration.context import Platform

TITLES = {
    "postgres": "PostgreSQL",
    "s3": "S3 object store",
    "webserver": "Dagster UI",
    "daemon": "Dagster daemon",
    "mlflow": "MLflow UI",
}
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead, for programs.")]
#: Errors of the operating system that say where a disk is full, and not what is wrong with a program.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: What Python makes of bytes of an argument that it cannot decode.
_UNDECODED = re.compile("[\udc80-\udcff]")
COLOURS = {"running": "green", "external": "cyan", "starting": "yellow", "failed": "red", "stopped": "dim"}


@contextmanager
def explained(console: Console | None = None) -> Iterator[None]:
    """Turn the errors that are meant for a person into one clear message and exit code 1."""
    try:
        yield
    except UserError as error:
        _fail(str(error), error, console)
    except PermissionError as error:
        _fail(f"no permission for {error.filename}: is it another user's folder?", error, console)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _fail(f"{error.filename or 'a file'} cannot be written: {error.strerror}", error, console)
    except UnicodeEncodeError as error:
        if not _UNDECODED.search(error.object):
            raise
        _fail(f"{error.object[:100]!r} is no text in UTF-8, as names and words must be", error, console)
    except ModuleNotFoundError as error:
        if find_spec((error.name or __name__).split(".")[0]):
            raise  # ours, or a part of something that is there: not a matter of installing
        _fail(f"the package `{error.name}` is missing: `make clean run` installs all of them anew", error, console)
    except Exception as error:
        if not isinstance(error, _meant_for_people()):
            raise
        _fail(str(error), error, console)


@contextmanager
def entered() -> "Iterator[Platform]":
    """Enter the platform, with its start shown on a terminal, and errors of use as one clear line."""
    from orchestration.context import Platform

    with explained():
        with Console(stderr=True).status("") as status:
            platform = Platform.enter(lambda server, news: status.update(f"{TITLES.get(server, server)} {news}"))
        yield platform


def _meant_for_people() -> tuple[type[Exception], ...]:
    """Return the errors of rooms and resources whose messages say what a person can do; imported when one is raised."""
    from assets.clusters.quality import TruthError
    from assets.embeddings.incremental import VectorsMissing
    from assets.failures import PermanentFailure, TransientFailure
    from assets.listings.feeds import ContractError, FeedUnreadable
    from benchmarks.matching import NotABenchmark

    return (
        ContractError,
        FeedUnreadable,
        NotABenchmark,
        PermanentFailure,
        TransientFailure,
        TruthError,
        VectorsMissing,
    )


def _fail(message: str, cause: Exception, console: Console | None) -> NoReturn:
    shown = console or Console(stderr=True)
    shown.print(f"[red]error:[/red] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1) from cause


class StackProgress:
    """A line per server with a spinner and the seconds it took; use it as `Stack.start`'s `progress`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._display = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.fields[title]:<16}"),
            TextColumn("{task.description}", style="dim"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "StackProgress":
        self._display.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._display.stop()

    def __call__(self, server: str, news: str) -> None:
        """Show `news` of a server ('' for the stack itself)."""
        if not server:
            self._console.print(f"[yellow]recovered:[/yellow] {news}", highlight=False)
            return
        if server not in self._tasks:
            self._tasks[server] = self._display.add_task(news, title=TITLES.get(server, server), total=1)
        done = news in ("ready", "stopped")
        self._display.update(self._tasks[server], description=news, completed=1 if done else 0)


def up(
    wait: Annotated[
        bool, typer.Option("--wait", help="Also wait for MLflow's page, which follows some seconds later.")
    ] = False,
) -> None:
    """Start the servers and leave them running.

    PostgreSQL, the S3 server, Dagster's UI and daemon, MLflow's UI: real
    servers on 127.0.0.1. Their data, ports and passwords live in .offerline
    (or OFFERLINE_HOME) and are found again at the next start. Starting twice
    changes nothing; what a killed stack left behind is recovered.

    A service whose URL is configured is used and not started:
    OFFERLINE_DATABASE_URL, OFFERLINE_S3_ENDPOINT, MLFLOW_TRACKING_URI.

    End it with offerline down.
    """
    console = Console()
    with explained():
        stack = Stack(load_settings())
        with StackProgress(console) as progress:
            where = stack.start("ui", progress)
            if wait:
                stack.wait(["mlflow"], progress)
        _print_addresses(console, where, mlflow_follows=not stack.answers("mlflow"))


def down() -> None:
    """Stop exactly what `offerline up` or `offerline run` started. Nothing is deleted."""
    console = Console()
    with explained():
        stack = Stack(load_settings())
        with StackProgress(console) as progress:
            stopped = stack.stop(progress)
        console.print("Stopped." if stopped else f"Nothing was running in {stack.settings.home}.", highlight=False)


def status(as_json: Json = False) -> None:
    """Show every server: state, process, address, age and memory.

    The memory includes child processes. States: running, starting, stopped,
    failed, external (configured by a URL, not ours to start).

    Where the object store answers, it also says how many records have not
    arrived in MLflow yet.
    """
    with explained():
        settings = load_settings()
        found = Stack(settings).status()
    if as_json:
        print_json([dataclasses.asdict(server) for server in found])
        return
    console = Console()
    console.print(_table(found))
    if any(server.name == "s3" and server.state in ("running", "starting", "external") for server in found):
        for line in _backlog(settings):
            console.print(line, highlight=False, soft_wrap=True)


def psql() -> None:
    """Open a psql shell on the warehouse (schemas catalog, marts). Starts the services where they are down."""
    with explained():
        with Console(stderr=True).status("starting the services"):
            where = Stack(load_settings()).start("services")
        command = psql_command(where)
    os.execv(command[0], command)  # noqa: S606 (the terminal becomes psql's own)


def register(app: typer.Typer) -> None:
    """Add the stack's commands to the command line."""
    for command in (up, down, status, psql):
        app.command()(command)


def _print_addresses(console: Console, where: Endpoints, *, mlflow_follows: bool) -> None:
    database = without_password(make_url(where.database_url)).render_as_string()
    console.print()
    for title, address, note in (
        ("Dagster UI", where.dagster_url, ""),
        ("MLflow UI", where.mlflow_url, "follows in some seconds" if mlflow_follows else ""),
        ("S3 endpoint", where.s3_endpoint, f"buckets {where.landing_bucket} and {where.artifacts_bucket}"),
        ("PostgreSQL", database, "shell: offerline psql"),
    ):
        console.print(f"{title:<12} [bold]{address}[/bold]  [dim]{note}[/dim]", highlight=False, soft_wrap=True)
    console.print("\nStop it with [bold]offerline down[/bold].", highlight=False)


def _backlog(settings: Settings) -> Iterator[str]:
    """Say what MLflow has yet to take, where there is anything and the object store can tell."""
    from resources.object_store import ObjectStore, ObjectStoreError, StoreRules
    from resources.patience import Patience
    from resources.tracking_outbox import count_backlog

    impatient = StoreRules(patience=Patience(tries=1))
    try:
        at = endpoints(settings)
        store = ObjectStore(at.s3_endpoint, at.s3_access_key, at.s3_secret_key, at.s3_region, rules=impatient)
        backlog = count_backlog(store, at.artifacts_bucket)
    except (ObjectStoreError, StackNotStarted):
        return
    if backlog.waiting:
        yield f"Records that wait for MLflow: {backlog.waiting}; they go before those of the next run."
    if backlog.set_aside:
        yield f"Records that MLflow has refused: {backlog.set_aside}; each is tried again once a day."


def _table(found: list[ServiceStatus]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("server", "state", "pid", "address", "up", "memory"):
        table.add_column(title, justify="right" if title in ("pid", "up", "memory") else "left")
    for server in found:
        colour = COLOURS[server.state]
        table.add_row(
            TITLES[server.name],
            f"[{colour}]{server.state}[/{colour}]",
            str(server.pid or ""),
            server.address,
            str(timedelta(seconds=round(server.uptime))) if server.uptime is not None else "",
            f"{server.memory / 2**20:.0f} MB" if server.memory is not None else "",
        )
    total = sum(server.memory or 0 for server in found)
    if total:
        table.add_section()
        table.add_row("", "", "", "", "", f"{total / 2**20:.0f} MB")
    return table
