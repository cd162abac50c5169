"""Processes that bring a catalogue up to date and are killed at a given point.

Run as `python crashing_worker.py`: a fork server, so that libraries are imported once. It reads an `Attempt` a line,
forks a worker for it, and answers with the worker's exit code once that has ended. Belongs here: what a point is, and
the worker. Not here: where it works (see `crash_ground`), which points are tried (see `test_crashes`).

A worker does what `offerline run` does once feeds have landed. A point lies after everything that lasts: a commit, an
object, a write to an index, a request to MLflow, an asset that Dagster or dbt tells of, the end of a step, the
beginning and end of a run; what is before one is after the one before it. Two kinds have an inside, where work is done
and not yet to last: a transaction before its commit, and a write to Qdrant's engine. A point is named after its step
and its place, so that another process meets the same one.
"""

import gc
import os
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource
from dagster_dbt.core.dbt_event_iterator import DbtEventIterator
from pydantic import BaseModel, ConfigDict

from assets import presentation, quality_gate
from assets.batches import BATCHES
from assets.clusters import recording
from assets.clusters.assets import REGISTERED_NAME as MATCHER
from assets.embeddings.assets import REGISTERED_NAME as EMBEDDER
from assets.marts.ports import DbtEvent
from assets.products.units import factor
from orchestration import refresh as refreshing
from orchestration.context import Platform
from orchestration.jobs import CATALOGUE
from orchestration.refresh import Outcome, Refresh
from orchestration.settings import endpoints, load_settings
from resources import qdrant_embedded
from resources.dbt_runner import DbtProjectRunner
from resources.object_store import ObjectStore
from resources.parquet_io import URI
from resources.pgvector_index import PgVectorIndex
from resources.qdrant_embedded import QdrantEmbeddedIndex, QdrantEmbeddedRules
from resources.tracking import MlflowTracking
from resources.warehouse import Transaction, Warehouse

#: What a worker would import while it works.
IMPORTED_LATER = (
    "dagster_aws.s3",
    "dagster_postgres",
    "dbt.adapters.postgres",
    "dbt.cli.main",
    "mlflow.store.tracking.sqlalchemy_store",
    "onnxruntime",
)
KINDS = ("run", "step", "asset", "commit", "object", "index", "MLflow", "dbt")
#: Where a worker is before its first step.
NO_STEP = "no step yet"
MARTS_STEP = "marts__build"
#: Points in one write to Qdrant's engine: few, so that a small write has an inside.
QDRANT_PART = 10
#: Nobody else takes in batches: one that is waited for is stuck.
PATIENCE_SECONDS = 5.0


class Attempt(BaseModel):
    """One worker to fork.

    Attributes:
        environment: Where everything is, as every process that loads the definitions is told.
        report: File that tells of every point as it is reached; beside it come `.log` and, in the end, `.json`.
        point: The point at which something is killed; none where nothing is.
        victim: The process that is killed, or the group of processes where negative; the worker itself unless given.
    """

    model_config = ConfigDict(frozen=True)

    environment: dict[str, str]
    report: Path
    point: str | None = None
    victim: int | None = None


class Left(BaseModel):
    """What a worker left when it had done everything.

    Attributes:
        artifacts: Asset, with its partition where it has one -> the object that its last materialisation names.
        checks: Every check of the whole catalogue, and whether it passed when it was last evaluated.
        champions: Every registered model, its version in use, and what that is of.
    """

    model_config = ConfigDict(frozen=True)

    artifacts: dict[str, str]
    checks: list[str]
    champions: list[str]


def kind_of(point: str) -> str:
    """Return which of the `KINDS` a point is."""
    return point.rpartition(": ")[2].partition(",")[0]


class Points:
    """Writes down the points that a worker reaches, and kills somebody at one of them."""

    def __init__(self, attempt: Attempt) -> None:
        self._report = attempt.report.open("a", buffering=1)
        self._fatal = attempt.point
        self._victim = os.getpid() if attempt.victim is None else attempt.victim
        self._reached: Counter[str] = Counter()
        self._turn = threading.Lock()
        self._step = NO_STEP

    def reach(self, kind: str, place: str) -> None:
        """Be at a place of the present step."""
        with self._turn:
            point = f"{self._step}: {kind}, {place}"
            self._reached[point] += 1
            point += f" #{self._reached[point]}"
            self._report.write(f"{point}\n")
            if point == self._fatal:
                os.kill(self._victim, signal.SIGKILL)

    def watch(self, instance: dg.DagsterInstance) -> None:
        """Put points everywhere."""
        self._watch_dagster(instance)
        self._watch_commits()
        self._watch_writes(ObjectStore, "object", ("put_bytes", "put_file", "delete"))
        self._watch_writes(PgVectorIndex, "index", ("upsert", "delete"))
        self._watch_writes(QdrantEmbeddedIndex, "index", ("upsert", "delete"))
        self._watch_inside_qdrant()
        self._watch_mlflow()
        self._watch_dbt()

    def _after(self, kind: str, place: str, act: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(act)
        def acted(*args: Any, **kwargs: Any) -> Any:
            result = act(*args, **kwargs)
            self.reach(kind, f"after {place}")
            return result

        return acted

    def _watch_writes(self, owner: Any, kind: str, names: tuple[str, ...]) -> None:
        for name in names:
            setattr(owner, name, self._after(kind, name, getattr(owner, name)))

    def _watch_dagster(self, instance: dg.DagsterInstance) -> None:
        told = dg.DagsterEventType
        kinds = {told.RUN_START: "run", told.RUN_SUCCESS: "run", told.STEP_SUCCESS: "step"}
        store = instance.event_log_storage.store_event

        def stored(entry: dg.EventLogEntry) -> None:
            store(entry)
            event = entry.dagster_event
            if event is None:
                return
            if event.event_type is told.STEP_START:
                self._step = f"{event.job_name}, {event.step_key}"
            elif event.event_type is told.ASSET_MATERIALIZATION:
                self.reach("dbt" if event.step_key == MARTS_STEP else "asset", "after an asset")
            elif event.event_type in kinds:
                self.reach(kinds[event.event_type], f"after {event.event_type.value}")

        instance.event_log_storage.store_event = stored
        self._watch_writes(instance.run_storage, "run", ("add_run",))
        self._watch_writes(instance, "run", ("add_dynamic_partitions",))

    def _watch_commits(self) -> None:
        opened = Warehouse.transaction

        @contextmanager
        def watched(warehouse: Warehouse) -> Iterator[Transaction]:
            with opened(warehouse) as transaction:
                yield transaction
                writes = transaction.scalar("SELECT pg_current_xact_id_if_assigned()") is not None
                if writes:
                    self.reach("commit", "before it")
            if writes:
                self.reach("commit", "after it")

        Warehouse.transaction = watched

    def _watch_inside_qdrant(self) -> None:
        parts = qdrant_embedded._parts

        def watched(items: Iterator[Any], rules: QdrantEmbeddedRules) -> Iterator[list[Any]]:
            for part in parts(items, replace(rules, write_points=QDRANT_PART)):
                yield part
                self.reach("index", "inside a write")

        qdrant_embedded._parts = watched

    def _watch_mlflow(self) -> None:
        make = MlflowTracking.client.func
        points = self

        class Watched:
            """A client that has a point after every request that changes something."""

            def __init__(self, tracking: MlflowTracking) -> None:
                self._client = make(tracking)

            def __getattr__(self, name: str) -> Any:
                act = getattr(self._client, name)
                return act if name.startswith(("get_", "search_")) else points._after("MLflow", name, act)

        client = cached_property(Watched)
        client.__set_name__(MlflowTracking, "client")
        MlflowTracking.client = client

    def _watch_dbt(self) -> None:
        build = DbtProjectRunner.build

        def watched(runner: DbtProjectRunner, *args: Any, **kwargs: Any) -> Iterator[DbtEvent]:
            models = [
                node["name"]
                for node in runner._project.manifest()["nodes"].values()
                if node["resource_type"] == "model"
            ]
            for number, event in enumerate(build(runner, *args, **(kwargs | {"nodes": models}))):
                if number == 0:
                    self.reach("dbt", "after its first event")
                yield event
            self.reach("dbt", "after its end")

        DbtProjectRunner.build = watched


def work(attempt: Attempt) -> bool:
    """Take in what waits, bring the catalogue up to date, and write down what is left; return whether all went well."""
    os.environ.update(attempt.environment)
    settings = load_settings()
    platform = Platform(settings, endpoints(settings))
    if attempt.victim is None:
        # Dagster's two thousand connections cost more than all else; but those that are kept outlive no server.
        platform.instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=10)
    Points(attempt).watch(platform.instance)
    refresh = Refresh(
        definitions=platform.definitions,
        instance=platform.instance,
        zone=platform.parts.landing_zone,
        book=platform.parts.batch_book,
    )
    outcome = Outcome()
    refresh.take_in(lambda _: None, outcome)
    refresh.update_catalogue(lambda _: None, outcome)
    print(*outcome.failures, sep="\n", file=sys.stderr)
    attempt.report.with_suffix(".json").write_text(_left(platform, refresh).model_dump_json())
    return not outcome.failures


def _left(platform: Platform, refresh: Refresh) -> Left:
    graph = platform.definitions.resolve_asset_graph()
    batches = platform.instance.get_dynamic_partitions(str(BATCHES.name))
    artifacts = {}
    for key in graph.materializable_asset_keys:
        for batch in batches if graph.get(key).partitions_def is not None else [None]:
            wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[batch] if batch else None)
            for record in platform.instance.fetch_materializations(wanted, limit=1).records:
                made = record.asset_materialization
                if made is not None and URI in made.metadata:
                    artifacts["/".join([*key.path, *([batch] if batch else [])])] = str(made.metadata[URI].value)
    return Left(
        artifacts=artifacts,
        checks=[f"{check.step}: {check.passed}" for check in refresh.standing_checks() if check.run == CATALOGUE.name],
        champions=[f"{name}: {platform.parts.tracking.tracker.champion(name)}" for name in (EMBEDDER, MATCHER)],
    )


def serve() -> None:
    """Fork a worker for every attempt, one after the other."""
    for name in IMPORTED_LATER:
        import_module(name)
    factor("inch", "centimetre")  # reads pint's definitions
    _spare_what_people_look_at()
    refreshing.OTHERS_PATIENCE = PATIENCE_SECONDS
    gc.freeze()
    for line in sys.stdin:
        attempt = Attempt.model_validate_json(line)
        child = os.fork()
        if child == 0:
            _become_worker(attempt)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _spare_what_people_look_at() -> None:
    """Reports, plots and figures of dbt's take most of the time of a small run, and no part in what lasts."""
    verdict = quality_gate.Verdict(expectations=0, failures=(), report=b"a report")
    quality_gate.validate = lambda *_: verdict
    for module in (presentation, recording):
        module.png = lambda *_, **__: b"a plot"
    DbtEventIterator._attach_metadata = lambda events, _: events
    DbtCliResource._initialize_dbt_core_adapter = lambda *_: None


def _become_worker(attempt: Attempt) -> None:
    log = os.open(attempt.report.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    code = 1
    try:
        code = 0 if work(attempt) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
