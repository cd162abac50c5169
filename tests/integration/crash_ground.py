"""Where workers are killed: databases, buckets and folders as they were kept, and what an attempt leaves in them.

Belongs here: beginning anew, having workers forked and servers started that may be killed, and reading everything that
a crash must not change. Not here: the worker and its points (see `crashing_worker`), which points are tried (see
`test_crashes`).
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, Self

import crashing_worker
import httpx
import psycopg
from crashing_worker import Attempt, Left
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from sqlalchemy.engine import make_url
from tenacity import Retrying, stop_after_delay, wait_fixed

from orchestration.context import LIBRARIES
from orchestration.servers import prepare_dagster, programs
from orchestration.settings import Endpoints, Settings, StackState, dagster_environment
from orchestration.stack import Stack
from resources.object_store import ObjectStore
from resources.qdrant_embedded import QdrantEmbeddedIndex
from resources.state_shelf import ObjectStateShelf

ROOT = Path(__file__).resolve().parents[2]
#: Column -> why it may differ from that of a calm run.
BY_CHANCE = {
    "deliveries.delivery_id": "drawn from a sequence, which does not go back when a transaction does",
    "deliveries.run_id": "the last run that dealt with it",
    "deliveries.attempts": "how many runs it took",
    "deliveries.claimed_by": "the process that took it on",
    "batches.run_id": "the run that applied it",
    "batches.artifacts": "named after the run that made them; what is in them is compared",
    "listing_history.history_id": "drawn from a sequence",
    "product_history.history_id": "drawn from a sequence",
    "scored_pairs.run_id": "the run that scored it",
    "cluster_events.event_id": "drawn from a sequence",
    "cluster_events.run_id": "the run that found it",
}
#: Columns that say when by the clock something was done; whether they say so must not differ.
BY_THE_CLOCK = {
    "deliveries.first_seen_at", "deliveries.updated_at", "batches.created_at", "batches.applied_at",
    "embeddings.embedded_at", "clusters.created_at", "clusters.updated_at", "clusters.dissolved_at",
    "cluster_events.occurred_at", "golden_records.updated_at", "cluster_summaries.written_at",
    "stg_clusters.created_at", "stg_clusters.updated_at", "dim_product.created_at", "dim_product.updated_at",
}  # fmt: skip

#: The artifact that tells what its own run changed: nothing, where the run before it came to change everything.
EVENTS = "clusters/cluster_events"

#: Table, index or kind of artifact -> its rows, in an order of their own.
Contents = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Beginning:
    """A state that was kept: the name of its copies, and the matcher's state; artifacts stay where they are."""

    name: str
    matching: bytes | None


@dataclass(frozen=True, slots=True)
class Ground:
    """All that an attempt writes to, on some servers and below one folder.

    Databases and folders are called the same in every attempt, so that what depends on their names (dbt's parsed
    project) is made once.

    Attributes:
        at: Where it is.
        store: The object store there.
        mlflow: Address of the MLflow server that workers speak to; its database, unless given.
    """

    at: Endpoints
    store: ObjectStore
    mlflow: str | None = None

    @classmethod
    def on(cls, servers: Endpoints, store: ObjectStore, home: Path) -> Self:
        """The ground on these servers."""
        own = replace(
            servers,
            home=home,
            database_url=_renamed(servers.database_url, "crash_catalogue"),
            dagster_database_url=_renamed(servers.dagster_database_url, "crash_dagster"),
            mlflow_tracking_uri=_renamed(servers.mlflow_tracking_uri, "crash_mlflow"),
            qdrant_path=home / "qdrant",
        )
        return cls(own, store)

    def with_buckets(self, *, landing: str, artifacts: str) -> Self:
        """The same ground with other buckets."""
        root = f"s3://{artifacts}/mlflow"
        at = replace(self.at, landing_bucket=landing, artifacts_bucket=artifacts, mlflow_artifact_root=root)
        return replace(self, at=at)

    @property
    def environment(self) -> dict[str, str]:
        """What a process is told that works here."""
        tracked = {} if self.mlflow is None else {"MLFLOW_TRACKING_URI": self.mlflow}
        return dagster_environment(self.at) | LIBRARIES | tracked

    def prepare(self) -> None:
        """Make databases and every schema, as a deployment does."""
        self.at.qdrant_path.mkdir(parents=True, exist_ok=True)
        prepare_dagster(self.at)
        done = subprocess.run(
            [sys.executable, "-m", "orchestration.prepare", "services"],
            cwd=ROOT, env=os.environ | self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def keep(self, name: str) -> Beginning:
        """Remember how everything is now; the artifacts stay where they are."""
        with _connected(self.at.database_url) as admin:
            for database in self._databases():
                _copy(admin, database, f"{database}_{name}")
        shutil.copytree(self.at.qdrant_path, self.at.home / name)
        return Beginning(name, ObjectStateShelf(self.store, self.at.artifacts_bucket).load())

    def begin(self, beginning: Beginning) -> None:
        """Be as everything was then. Artifacts are read where they lie; only the matcher's state has to be here."""
        with _connected(self.at.database_url) as admin:
            for database in self._databases():
                _copy(admin, f"{database}_{beginning.name}", database)
        shutil.rmtree(self.at.qdrant_path)
        shutil.copytree(self.at.home / beginning.name, self.at.qdrant_path)
        for version in self.store.list(self.at.artifacts_bucket):
            self.store.delete(self.at.artifacts_bucket, version.key)
        if beginning.matching is not None:
            ObjectStateShelf(self.store, self.at.artifacts_bucket).keep(beginning.matching)

    def drop(self) -> None:
        """Remove the databases and all copies of them."""
        with _connected(self.at.database_url) as admin:
            for name in self._databases():
                made = admin.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [name])
                for row in made.fetchall():
                    _drop(admin, row["datname"])

    def contents(self, left: Left) -> Contents:
        """Everything that must be the same, whatever happened on the way to it.

        Args:
            left: What the last worker said.
        """
        state = ObjectStateShelf(self.store, self.at.artifacts_bucket).load()
        return {
            **self._tables(),
            "Qdrant": self._qdrant(),
            "artifacts": [
                f"{asset}: {self._digest(uri)}" for asset, uri in sorted(left.artifacts.items()) if asset != EVENTS
            ],
            "state of the matching": [] if state is None else [sha256(state).hexdigest()],
            "checks": sorted(left.checks),
            "champions": sorted(left.champions),
        }

    def _tables(self) -> Contents:
        with _connected(self.at.database_url, make_url(self.at.database_url).database) as catalogue:
            names = catalogue.execute(
                "SELECT table_schema, table_name FROM information_schema.tables "
                "WHERE table_schema = 'marts' OR table_schema = 'catalog' AND table_type = 'BASE TABLE' ORDER BY 1, 2"
            ).fetchall()
            return {
                f"{schema}.{name}": sorted(
                    str(_lasting(name, row))
                    for row in catalogue.execute(SQL("SELECT * FROM {}").format(Identifier(schema, name)))
                )
                for schema, name in (row.values() for row in names)
            }

    def _qdrant(self) -> list[str]:
        return sorted(
            f"{product} {sha256(vector.tobytes()).hexdigest()}"
            for products, vectors in QdrantEmbeddedIndex(self.at.qdrant_path).contents()
            for product, vector in zip(products, vectors, strict=True)
        )

    def _digest(self, uri: str) -> str:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return sha256(self.store.get_bytes(bucket, key)).hexdigest()

    def _databases(self) -> list[str]:
        urls = (self.at.database_url, self.at.dagster_database_url, self.at.mlflow_tracking_uri)
        return [str(make_url(url).database) for url in urls]


def _lasting(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row without what chance decides, and without the time of day."""
    return {
        column: value is not None if f"{table}.{column}" in BY_THE_CLOCK else value
        for column, value in row.items()
        if f"{table}.{column}" not in BY_CHANCE
    }


def _renamed(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


class Workers:
    """Forks workers, one at a time, from a process that has imported everything."""

    def __init__(self, reports: Path) -> None:
        self._reports = reports
        self._numbers = count(1)
        self._server = subprocess.Popen(
            [sys.executable, crashing_worker.__file__],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.communicate()

    def work(self, ground: Ground, *, point: str | None = None, victim: int | None = None) -> "Ended":
        """Let a worker do all that is due; at the point it kills itself, or the victim and goes on.

        Args:
            ground: Where it works.
            point: The point; none where it is to be left in peace.
            victim: Process id of a server, or of a group of them where negative.
        """
        report = self._reports / f"{next(self._numbers)}.txt"
        attempt = Attempt(environment=ground.environment, report=report, point=point, victim=victim)
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(f"{attempt.model_dump_json()}\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        assert answer, "the fork server has died; see its complaint above"
        return Ended(int(answer), report)


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker that has ended: its exit code (negative: the signal that killed it), and what it reported."""

    code: int
    report: Path

    @property
    def points(self) -> list[str]:
        """The points that it reached, in order."""
        return self.report.read_text().splitlines()

    @property
    def left(self) -> Left:
        """What it left, as far as Dagster and MLflow know."""
        return Left.model_validate_json(self.report.with_suffix(".json").read_text())

    @property
    def complaint(self) -> str:
        """The last lines that it and its libraries printed."""
        return "\n".join(self.report.with_suffix(".log").read_text(errors="replace").splitlines()[-15:])


class Servers:
    """Servers that may be killed: a stack of their own, and MLflow's server on one of its databases."""

    def __init__(self, home: Path) -> None:
        self._stack = Stack(Settings(home=home))
        self._tracked: Endpoints | None = None
        self._mlflow: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._mlflow is not None:
            os.killpg(self._mlflow.pid, signal.SIGKILL)
            self._mlflow.wait()
        self._stack.stop()

    def start(self) -> Endpoints:
        """Start what does not run, wait until everything answers, and return where it is."""
        where = self._stack.start("services")
        if self._tracked is not None:
            self._start_mlflow(self._tracked, where.mlflow_url)
        return where

    def track(self, ground: Ground) -> Ground:
        """Start MLflow's server on the ground's database and return the ground where workers speak to it."""
        self._tracked = ground.at
        return replace(ground, mlflow=self.start().mlflow_url)

    def process(self, name: str) -> int:
        """The process of `postgres` or `s3`; the group of processes of `mlflow`, which is its negative number."""
        if name == "mlflow":
            assert self._mlflow is not None
            return -self._mlflow.pid
        (pid,) = [server.pid for server in self._stack.status() if server.name == name]
        assert pid is not None
        return pid

    def _start_mlflow(self, at: Endpoints, address: str) -> None:
        if self._mlflow is None or self._mlflow.poll() is not None:
            state = StackState.read(self._stack.settings.state_path)
            assert state is not None
            program = programs(self._stack.settings, state, at)["mlflow"]
            self._mlflow = subprocess.Popen(
                program.command,
                cwd=program.directory,
                env=os.environ | program.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        Retrying(stop=stop_after_delay(120), wait=wait_fixed(0.2), reraise=True)(
            lambda: httpx.get(f"{address}/health", timeout=5).raise_for_status()
        )


@contextmanager
def _connected(url: str, database: str | None = "postgres") -> Iterator[psycopg.Connection[dict[str, Any]]]:
    address = make_url(url).set(drivername="postgresql", database=database).render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def _copy(admin: psycopg.Connection[dict[str, Any]], source: str, target: str) -> None:
    _drop(admin, target)
    admin.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(target), Identifier(source)))


def _drop(admin: psycopg.Connection[dict[str, Any]], name: str) -> None:
    admin.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
