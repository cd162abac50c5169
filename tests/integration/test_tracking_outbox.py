"""Nothing is lost while MLflow is away: records wait in the object store and arrive once, oldest first."""

import io
import json
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psycopg
import pytest
from sqlalchemy.engine import make_url

from assets.embeddings.assets import embedding_model
from assets.tracking import Dataset, RunRecord, TrackingDelayed, TrackingRejected, TrackingUnavailable
from orchestration.settings import Endpoints, dagster_environment
from resources.object_store import ObjectStore
from resources.tracking import DAGSTER_RUN_TAG, MlflowTracking
from resources.tracking_outbox import REFUSED, WAITING, Backlog, TrackingOutbox, count_backlog
from resources.warehouse import Warehouse

pytestmark = [pytest.mark.stack, pytest.mark.laws, pytest.mark.filterwarnings("ignore::Warning")]

RUN = RunRecord(
    experiment="clustering",
    name="3 products, 2 clusters",
    dagster_run_id="dagster-1",
    datasets=(Dataset(name="current_products", digest="f" * 36, source="catalog.products", rows=3),),
    params={"rules.seeds": 7, "rules.names": ["a", "b"], "model_version": "m1", "flag": True, "none": None},
    metrics={"clusters": 2, "share": 0.1},
    tags={"note": "first"},
    files={"plots/scores.png": b"\x89PNG\x00\xff", "rules.json": b"{}"},
    seconds=2.5,
)


@dataclass
class Tracking:
    """A real MLflow of this module, the same one out of reach, and what waits for it."""

    present: MlflowTracking
    absent: MlflowTracking
    store: ObjectStore
    bucket: str

    @property
    def up(self) -> TrackingOutbox:
        return TrackingOutbox(self.present, self.store, self.bucket)

    @property
    def down(self) -> TrackingOutbox:
        return TrackingOutbox(self.absent, self.store, self.bucket)

    def keys(self, prefix: str = WAITING) -> list[str]:
        return [version.key for version in self.store.list(self.bucket, prefix)]

    def runs(self, experiment: str) -> list[Any]:
        """All runs of an experiment, in the order in which they were begun."""
        client = self.present.client
        found = client.get_experiment_by_name(experiment)
        return (
            [] if found is None else list(client.search_runs([found.experiment_id], order_by=["attributes.start_time"]))
        )

    def artifact(self, run: Any, path: str, folder: Path) -> bytes:
        return Path(self.present.client.download_artifacts(run.info.run_id, path, str(folder))).read_bytes()


@pytest.fixture(scope="module")
def mlflow(stack: Endpoints, new_bucket: Callable[[str], str]) -> Iterator[MlflowTracking]:
    name = f"mlflow_{uuid.uuid4().hex[:8]}"
    admin = make_url(stack.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with pytest.MonkeyPatch.context() as patch, psycopg.connect(admin, autocommit=True) as connection:
        for variable, value in dagster_environment(stack).items():
            if variable.startswith(("AWS_", "MLFLOW_")):
                patch.setenv(variable, value)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        connection.execute(f"CREATE DATABASE {name}")
        uri = make_url(stack.mlflow_tracking_uri).set(database=name).render_as_string(hide_password=False)
        yield MlflowTracking(
            tracking_uri=uri, artifact_root=f"s3://{new_bucket('mlflow')}/mlflow", ui_url="http://127.0.0.1:5000"
        )
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["database", "server"])
def tracking(
    request: pytest.FixtureRequest, mlflow: MlflowTracking, store: ObjectStore, new_bucket: Callable[[str], str]
) -> Tracking:
    """MLflow with experiments of its own, and what nobody serves."""
    url = make_url(mlflow.tracking_uri).set(port=9)
    away = {"database": url.render_as_string(hide_password=False), "server": "http://127.0.0.1:9"}[request.param]
    return Tracking(mlflow, replace(mlflow, tracking_uri=away), store, new_bucket("outbox"))


@pytest.fixture
def run(request: pytest.FixtureRequest) -> RunRecord:
    return replace(RUN, experiment=f"clustering-{uuid.uuid4().hex[:8]}")


def test_what_mlflow_takes_does_not_wait(tracking: Tracking, run: RunRecord) -> None:
    link = tracking.up.record(run)
    assert link.split("?")[0].endswith(tracking.runs(run.experiment)[0].info.run_id)
    assert tracking.keys("") == []


def test_a_record_waits_and_arrives_whole(tracking: Tracking, run: RunRecord, tmp_path: Path) -> None:
    with pytest.raises(TrackingDelayed, match=r"^kept for later: MLflow cannot"):
        tracking.down.record(run)
    assert len(tracking.keys()) == 1
    assert tracking.runs(run.experiment) == []

    twin = replace(run, experiment=f"{run.experiment}-twin")
    tracking.up.record(twin)
    assert tracking.keys("") == []
    [arrived], [direct] = tracking.runs(run.experiment), tracking.runs(twin.experiment)
    assert (arrived.info.run_name, arrived.info.status) == (run.name, "FINISHED")
    assert (arrived.data.params, arrived.data.metrics) == (direct.data.params, direct.data.metrics)
    assert {"rules.seeds": "7", "none": "null"}.items() <= arrived.data.params.items()
    assert (arrived.data.tags[DAGSTER_RUN_TAG], arrived.data.tags["note"]) == ("dagster-1", "first")
    assert [given.dataset for given in arrived.inputs.dataset_inputs] == [
        given.dataset for given in direct.inputs.dataset_inputs
    ]
    assert tracking.artifact(arrived, "plots/scores.png", tmp_path) == b"\x89PNG\x00\xff"
    assert tracking.artifact(arrived, "rules.json", tmp_path) == b"{}"
    assert arrived.info.end_time - arrived.info.start_time == 2500, "it is of when the work was done"
    assert arrived.info.end_time < direct.info.end_time


def test_what_waits_arrives_in_order_and_before_what_comes_later(tracking: Tracking, run: RunRecord) -> None:
    for number in range(3):
        with pytest.raises(TrackingDelayed):
            tracking.down.record(replace(run, dagster_run_id=f"run-{number}", name=str(number)))
        with pytest.raises(TrackingDelayed):
            tracking.down.add_metrics(run.experiment, f"run-{number}", {"f1": number / 10})
    assert len(tracking.keys()) == 6
    link = tracking.up.add_metrics(run.experiment, "run-2", {"later": 1.0})
    assert tracking.keys("") == []
    runs = tracking.runs(run.experiment)
    assert [(found.info.run_name, found.data.metrics["f1"]) for found in runs] == [("0", 0.0), ("1", 0.1), ("2", 0.2)]
    assert runs[2].data.metrics["later"] == 1.0
    assert link is not None and runs[2].info.run_id in link


def test_nothing_overtakes_what_waits_even_if_mlflow_goes_away_again(tracking: Tracking, run: RunRecord) -> None:
    with pytest.raises(TrackingDelayed):
        tracking.down.record(run)
    first = tracking.keys()
    with pytest.raises(TrackingDelayed):
        tracking.down.record(replace(run, dagster_run_id="dagster-2"))
    assert tracking.keys()[:1] == first
    assert len(tracking.keys()) == 2


def test_a_record_that_arrives_twice_is_one_run(tracking: Tracking, run: RunRecord) -> None:
    """Such as after a crash between its delivery and its removal."""
    with pytest.raises(TrackingDelayed):
        tracking.down.record(run)
    [key] = tracking.keys()
    kept = tracking.store.get_bytes(tracking.bucket, key)
    for _ in range(2):
        tracking.store.put_bytes(tracking.bucket, key, kept)
        assert tracking.up.add_metrics(f"{run.experiment}-other", "x", {"a": 1.0}) is None
        [arrived] = tracking.runs(run.experiment)
        assert arrived.data.metrics == {"clusters": 2.0, "share": 0.1}
    assert tracking.up.record(run).split("?")[0].endswith(arrived.info.run_id), "nor is it written again directly"
    assert len(tracking.runs(run.experiment)) == 1


def test_a_run_that_an_outage_left_half_written_is_completed(
    tracking: Tracking, run: RunRecord, store: ObjectStore, tmp_path: Path
) -> None:
    bucket = f"late-{uuid.uuid4().hex[:8]}"
    halved = replace(tracking.present, artifact_root=f"s3://{bucket}/mlflow")
    with pytest.raises(TrackingDelayed, match=r"^kept for later: "):
        replace(tracking.up, tracker=halved).record(run)
    [half] = tracking.runs(run.experiment)
    assert half.info.status == "RUNNING"
    assert half.data.params, "what MLflow took it has"

    store.ensure_bucket(bucket)
    tracking.up.record(replace(run, dagster_run_id="dagster-2"))
    assert tracking.keys("") == []
    whole, other = sorted(tracking.runs(run.experiment), key=lambda found: found.data.tags[DAGSTER_RUN_TAG])
    assert (whole.info.run_id, whole.info.status) == (half.info.run_id, "FINISHED")
    assert (whole.data.params, whole.data.metrics) == (other.data.params, other.data.metrics)
    assert len(whole.inputs.dataset_inputs) == 1
    assert tracking.artifact(whole, "plots/scores.png", tmp_path) == run.files["plots/scores.png"]


def test_a_model_version_waits_with_its_files(tracking: Tracking, run: RunRecord, tmp_path: Path) -> None:
    name = f"matcher-{uuid.uuid4().hex[:8]}"
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"first")
    files: dict[str, bytes | Path] = {"model.json": b"{}", "inner/weights.bin": weights}

    def register(outbox: TrackingOutbox, digest: str) -> Any:
        return outbox.register(name, digest, files, run=replace(run, name=digest), description="Matches.")

    with pytest.raises(TrackingDelayed):
        register(tracking.down, "v1")
    for _ in range(2):
        weights.write_bytes(b"second")
        with pytest.raises(TrackingDelayed):
            register(tracking.down, "v2")
    assert len(tracking.keys()) == 2, "the same version is kept once"
    weights.unlink()

    tracking.up.add_metrics(run.experiment, "x", {"a": 1.0})
    assert tracking.keys("") == []
    client = tracking.present.client
    versions = sorted(client.search_model_versions(f"name = '{name}'"), key=lambda version: int(version.version))
    assert [client.get_run(version.run_id).info.run_name for version in versions] == ["v1", "v2"]
    assert tracking.present.champion(name) == (2, "v2")
    for version, content in zip(versions, (b"first", b"second"), strict=True):
        folder = tmp_path / str(version.version)
        folder.mkdir()
        assert tracking.artifact(client.get_run(version.run_id), "model/inner/weights.bin", folder) == content
    weights.write_bytes(b"first")
    for digest in ("v1", "v2", "v1"):
        with pytest.raises(TrackingDelayed):
            register(tracking.down, digest)
    assert len(tracking.keys()) == 3, "it matters which one was used last"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights")
    return path


def test_a_stage_says_that_its_record_is_kept_and_goes_on(tracking: Tracking, weights: Path) -> None:
    name = f"words@{uuid.uuid4().hex[:8]}"

    embedder = SimpleNamespace(model_version=name, model_files={"weights.bin": weights})

    def metadata(outbox: TrackingOutbox) -> Any:
        done = dg.materialize([embedding_model], resources={"embedder": embedder, "tracking": outbox})
        assert done.success
        [event] = done.asset_materializations_for_node(embedding_model.node_def.name)
        return event.metadata

    assert metadata(tracking.down)["mlflow"].value.startswith("kept for later: MLflow cannot")
    assert isinstance(metadata(tracking.up)["mlflow"], dg.UrlMetadataValue)
    assert tracking.keys("") == []


# -- what is not MLflow's being away ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fussy(MlflowTracking):
    """A real MLflow that raises what it is told to, by the Dagster run whose record it should take."""

    faults: dict[str, Exception] = field(default_factory=dict)
    meanwhile: Callable[[], object] = lambda: None

    def record(self, run: RunRecord) -> str:
        if run.dagster_run_id in self.faults:
            raise self.faults[run.dagster_run_id]
        self.meanwhile()
        return super().record(run)


def fussy(tracking: Tracking, **changes: Any) -> TrackingOutbox:
    present = {part.name: getattr(tracking.present, part.name) for part in fields(tracking.present)}
    return replace(tracking.up, tracker=Fussy(**present, **changes))


def test_a_mistake_is_told_at_once_and_does_not_wait(tracking: Tracking, run: RunRecord) -> None:
    with pytest.raises(TrackingRejected, match=r"^set aside: MLflow refuses"):
        tracking.up.record(replace(run, params={"a name: with \x00 in it?": 1}))
    assert tracking.keys() == []
    assert len(tracking.keys(REFUSED)) == 1, "nor is it lost"


def test_what_is_refused_is_tried_again_some_time_with_what_follows_it(tracking: Tracking, run: RunRecord) -> None:
    faults: dict[str, Exception] = {"dagster-1": TrackingRejected("MLflow refuses the record: too long")}
    outbox = fussy(tracking, faults=faults)
    with pytest.raises(TrackingRejected):
        outbox.record(run)
    with pytest.raises(TrackingDelayed, match=r"the run that it belongs to waits"):
        outbox.add_metrics(run.experiment, "dagster-1", {"f1": 0.5})
    assert count_backlog(tracking.store, tracking.bucket) == Backlog(waiting=1, set_aside=1)
    for _ in range(2):
        replace(outbox, again_after=timedelta(0)).record(replace(run, dagster_run_id="dagster-2"))
        assert count_backlog(tracking.store, tracking.bucket) == Backlog(waiting=0, set_aside=2)
    faults.clear()
    outbox.record(replace(run, dagster_run_id="dagster-2"))
    assert len(tracking.keys(REFUSED)) == 2, "it rests for a day"
    replace(outbox, again_after=timedelta(0)).record(replace(run, dagster_run_id="dagster-2"))
    assert tracking.keys("") == []
    arrived = {found.data.tags[DAGSTER_RUN_TAG]: found.data.metrics for found in tracking.runs(run.experiment)}
    assert arrived["dagster-1"] == {"clusters": 2.0, "share": 0.1, "f1": 0.5}
    assert "f1" not in arrived["dagster-2"]


def test_a_record_that_mlflow_fails_over_holds_up_no_other(tracking: Tracking, run: RunRecord) -> None:
    outbox = fussy(tracking, faults={"dagster-1": TrackingUnavailable("MLflow cannot take the record now")})
    with pytest.raises(TrackingDelayed):
        outbox.record(run)
    with pytest.raises(TrackingDelayed):
        tracking.down.record(replace(run, dagster_run_id="dagster-2"))
    outbox.record(replace(run, dagster_run_id="dagster-3"))
    assert count_backlog(tracking.store, tracking.bucket) == Backlog(waiting=0, set_aside=1)
    assert {found.data.tags[DAGSTER_RUN_TAG] for found in tracking.runs(run.experiment)} == {"dagster-2", "dagster-3"}


def test_a_number_that_is_not_finite_waits_like_any_other(tracking: Tracking, run: RunRecord) -> None:
    odd = {"none": float("nan"), "all": float("inf"), "less": float("-inf")}
    with pytest.raises(TrackingDelayed):
        tracking.down.record(replace(run, metrics=odd))
    tracking.up.record(replace(run, metrics=odd, dagster_run_id="dagster-2"))
    assert tracking.keys("") == []
    arrived, direct = (found.data.metrics for found in tracking.runs(run.experiment))
    assert repr(arrived) == repr(direct)
    assert arrived.keys() == odd.keys()


# -- two deliverers at once ---------------------------------------------------------------------------------------


def test_what_another_has_delivered_meanwhile_is_delivered(tracking: Tracking, run: RunRecord) -> None:
    for number in range(3):
        with pytest.raises(TrackingDelayed):
            tracking.down.record(replace(run, dagster_run_id=f"run-{number}"))
    other = iter([lambda: tracking.up.add_metrics(f"{run.experiment}-other", "x", {"a": 1.0})])
    slow = fussy(tracking, meanwhile=lambda: next(other, lambda: None)())
    slow.record(replace(run, dagster_run_id="run-3"))
    assert tracking.keys("") == []
    runs = [found.data.tags[DAGSTER_RUN_TAG] for found in tracking.runs(run.experiment)]
    assert sorted(runs) == ["run-0", "run-1", "run-2", "run-3"]


def test_one_delivers_at_a_time(
    tracking: Tracking, run: RunRecord, new_warehouse: Callable[[str], AbstractContextManager[Warehouse]]
) -> None:
    with pytest.raises(TrackingDelayed):
        tracking.down.record(run)
    both = threading.Barrier(2)

    def meet() -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(1)

    with new_warehouse("outbox") as warehouse, ThreadPoolExecutor(2) as pool:
        outboxes = [
            replace(fussy(tracking, meanwhile=meet), alone=partial(warehouse.alone, "tracking")) for _ in range(2)
        ]
        for done in [pool.submit(outbox.record, run) for outbox in outboxes]:
            done.result()
    assert both.broken, "they never were at it together"
    assert len(tracking.runs(run.experiment)) == 1
    assert tracking.keys("") == []


def test_a_version_that_arrives_late_is_not_the_one_in_use(tracking: Tracking, run: RunRecord) -> None:
    name = f"matcher-{uuid.uuid4().hex[:8]}"
    with pytest.raises(TrackingDelayed):
        tracking.down.register(name, "v1", {"m.json": b"{}"}, run=run, description="Matches.")
    [key] = tracking.keys()
    late = tracking.store.get_bytes(tracking.bucket, key)
    for digest in ("v2", "v2"):
        tracking.up.register(name, digest, {"m.json": b"{}"}, run=replace(run, name=digest), description="Matches.")
        assert tracking.present.champion(name) == (2, "v2")
        tracking.store.put_bytes(tracking.bucket, key, late)
    tracking.up.add_metrics(run.experiment, "x", {"a": 1.0})
    assert tracking.keys("") == []
    assert tracking.present.champion(name) == (2, "v2")


def test_what_is_refused_in_the_end_is_set_aside_and_hinders_nothing(tracking: Tracking, run: RunRecord) -> None:
    with pytest.raises(TrackingDelayed):
        tracking.down.record(replace(run, params={"a name: with \x00 in it?": 1}))
    with pytest.raises(TrackingDelayed):
        tracking.down.record(replace(run, dagster_run_id="dagster-2"))
    refused, _ = tracking.keys()
    tracking.store.put_bytes(tracking.bucket, f"{WAITING}0-strange.zip", b"not a record")
    tracking.up.add_metrics(run.experiment, "x", {"a": 1.0})
    assert tracking.keys() == []
    assert tracking.keys(REFUSED) == [f"{REFUSED}0-strange.zip", refused.replace(WAITING, REFUSED)]
    assert {
        found.data.tags[DAGSTER_RUN_TAG] for found in tracking.runs(run.experiment) if found.info.status == "FINISHED"
    } == {"dagster-2"}


def test_what_waits_is_plain_json_and_files(tracking: Tracking, run: RunRecord) -> None:
    with pytest.raises(TrackingDelayed):
        tracking.down.record(run)
    [key] = tracking.keys()
    with zipfile.ZipFile(io.BytesIO(tracking.store.get_bytes(tracking.bucket, key))) as archive:
        assert sorted(archive.namelist()) == ["record.json", "run/plots/scores.png", "run/rules.json"]
        record = json.loads(archive.read("record.json"))
    assert (record["call"], record["run"]["dagster_run_id"]) == ("record", "dagster-1")
