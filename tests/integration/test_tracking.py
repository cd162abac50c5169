"""Runs and model versions in a real MLflow: straight on PostgreSQL, artifacts in the object store."""

import json
import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from assets.tracking import Dataset, RunRecord, TrackingRejected, TrackingUnavailable
from orchestration.settings import Endpoints, dagster_environment
from resources.object_store import ObjectStore
from resources.tracking import BATCH_LIMIT, CHAMPION, DAGSTER_RUN_TAG, MlflowTracking

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore::Warning")]

UI = "http://127.0.0.1:5000"


@pytest.fixture(scope="module")
def environment(stack: Endpoints) -> Iterator[None]:
    """MLflow's artifacts go by boto3, which reads its keys from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in dagster_environment(stack).items():
            if name.startswith(("AWS_", "MLFLOW_")):
                patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def tracking(stack: Endpoints, environment: None, store: ObjectStore) -> Iterator[MlflowTracking]:
    name = f"mlflow_{uuid.uuid4().hex[:8]}"
    store.ensure_bucket(name.replace("_", "-"))
    admin = make_url(stack.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        uri = make_url(stack.mlflow_tracking_uri).set(database=name).render_as_string(hide_password=False)
        yield MlflowTracking(tracking_uri=uri, artifact_root=f"s3://{name.replace('_', '-')}/mlflow", ui_url=UI)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run_of(link: str, tracking: MlflowTracking) -> Any:
    """Return the run that a link leads to."""
    return tracking.client.get_run(link.rpartition("/")[2].partition("?")[0])


RUN = RunRecord(
    experiment="clustering",
    name="3 products, 2 clusters",
    dagster_run_id="dagster-1",
    datasets=(Dataset(name="current_products", digest="f" * 40, source="catalog.products", rows=3),),
    params={"rules.seeds": 7, "rules.names": ["a", "b"], "model_version": "m1", "flag": True},
    metrics={"clusters": 2, "largest_cluster": 2.0},
    tags={"note": "first"},
    files={"plots/scores.png": b"\x89PNG", "rules.json": b"{}"},
)


def test_a_run_is_written_whole(tracking: MlflowTracking) -> None:
    link = tracking.record(RUN)
    run = run_of(link, tracking)
    experiment = tracking.client.get_experiment_by_name("clustering")
    assert experiment is not None
    assert link == f"{UI}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}?workflowType=machine_learning"
    assert (run.info.run_name, run.info.status) == (RUN.name, "FINISHED")
    assert run.data.metrics == {"clusters": 2.0, "largest_cluster": 2.0}
    assert run.data.params == {
        "rules.seeds": "7", "rules.names": '["a", "b"]', "model_version": "m1", "flag": "true",
    }  # fmt: skip
    assert (run.data.tags[DAGSTER_RUN_TAG], run.data.tags["note"]) == ("dagster-1", "first")
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest, given.dataset.source_type) == (
        "current_products", "f" * 36, "postgresql",
    )  # fmt: skip
    assert json.loads(given.dataset.source) == {"uri": "catalog.products"}
    assert json.loads(given.dataset.profile) == {"num_rows": 3}


def test_files_lie_in_the_object_store(tracking: MlflowTracking, store: ObjectStore, tmp_path: Path) -> None:
    run = run_of(tracking.record(RUN), tracking)
    assert run.info.artifact_uri.startswith(f"{tracking.artifact_root}/clustering/")
    assert {item.path for item in tracking.client.list_artifacts(run.info.run_id)} == {"plots", "rules.json"}
    bucket, _, prefix = run.info.artifact_uri.removeprefix("s3://").partition("/")
    assert store.get_bytes(bucket, f"{prefix}/plots/scores.png") == b"\x89PNG"
    fetched = tracking.client.download_artifacts(run.info.run_id, "rules.json", str(tmp_path))
    assert Path(fetched).read_bytes() == b"{}"


def test_a_run_of_nothing_but_a_name_is_a_run(tracking: MlflowTracking) -> None:
    run = run_of(tracking.record(RunRecord(experiment="bare", name="nothing", dagster_run_id="x")), tracking)
    assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {}, {})


def test_more_than_one_call_can_take_is_written_all_the_same(tracking: MlflowTracking) -> None:
    many = 2 * BATCH_LIMIT + 1
    record = RunRecord(
        experiment="many",
        name="many",
        dagster_run_id="x",
        params={f"p{number}": "v" * 600 for number in range(many)},
        metrics={f"m{number}": number for number in range(BATCH_LIMIT + 1)},
    )
    run = run_of(tracking.record(record), tracking)
    assert len(run.data.params) == many
    assert run.data.metrics["m100"] == 100


def test_metrics_are_added_to_the_run_of_the_same_dagster_run(tracking: MlflowTracking) -> None:
    link = tracking.record(replace(RUN, dagster_run_id="dagster-2"))
    other = tracking.record(replace(RUN, dagster_run_id="dagster-3"))
    assert tracking.add_metrics("clustering", "dagster-2", {"abt_buy_f1": 0.94}) == link
    assert run_of(link, tracking).data.metrics == {"clusters": 2.0, "largest_cluster": 2.0, "abt_buy_f1": 0.94}
    assert "abt_buy_f1" not in run_of(other, tracking).data.metrics
    assert tracking.add_metrics("clustering", "no such run", {"f1": 1.0}) is None
    assert tracking.add_metrics("never-seen", "dagster-2", {"f1": 1.0}) is None


def test_a_model_is_a_version_per_digest_and_the_one_in_use_is_champion(
    tracking: MlflowTracking, tmp_path: Path, store: ObjectStore
) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"weights")
    files: dict[str, bytes | Path] = {"config.json": b"{}", "inner/weights.bin": weights}
    run = RunRecord(experiment="models", name="m", dagster_run_id="d", params={"p": 1})
    assert tracking.champion("embedder") is None

    first = tracking.register("embedder", "digest-1", files, run=run, description="Embeds texts.")
    assert (first.name, first.version, first.is_new) == ("embedder", 1, True)
    assert first.link == f"{UI}/#/models/embedder/versions/1?workflowType=machine_learning"
    assert tracking.champion("embedder") == (1, "digest-1")
    again = tracking.register("embedder", "digest-1", files, run=run, description="Embeds texts.")
    assert again == replace(first, is_new=False)

    second = tracking.register("embedder", "digest-2", files, run=run, description="Embeds texts.")
    assert (second.version, second.is_new) == (2, True)
    assert tracking.champion("embedder") == (2, "digest-2"), "it is the one in use"
    back = tracking.register("embedder", "digest-1", files, run=run, description="Embeds texts.")
    assert (back.version, back.is_new) == (1, False)
    assert tracking.champion("embedder") == (1, "digest-1"), "used again, it is no new version"

    versions = tracking.client.search_model_versions("name = 'embedder'")
    assert sorted(int(version.version) for version in versions) == [1, 2]
    kept = tracking.client.get_model_version_by_alias("embedder", CHAMPION)
    bucket, _, prefix = kept.source.removeprefix("s3://").partition("/")
    assert store.get_bytes(bucket, f"{prefix}/inner/weights.bin") == b"weights", "the file itself, not a link to it"
    assert run_of(f"/{kept.run_id}", tracking).data.params == {"p": "1"}


def test_models_of_other_names_have_versions_of_their_own(tracking: MlflowTracking) -> None:
    run = RunRecord(experiment="models", name="m", dagster_run_id="d")
    for name in ("matcher-a", "matcher-b"):
        assert tracking.register(name, "same-digest", {"m.json": b"{}"}, run=run, description="").version == 1


def test_a_late_record_does_not_set_the_champion_back(tracking: MlflowTracking) -> None:
    def register(digest: str, used: float) -> int:
        run = RunRecord(experiment="models", name=digest, dagster_run_id="d", ended_at=used)
        return tracking.register("late", digest, {"m.json": b"{}"}, run=run, description="").version

    assert [register("v1", 1e9), register("v2", 2e9), register("v1", 1e9), register("v0", 1.5e9)] == [1, 2, 1, 3]
    assert tracking.champion("late") == (2, "v2")
    assert register("v0", 2.5e9) == 3
    assert tracking.champion("late") == (3, "v0")


def test_an_experiment_that_somebody_deleted_takes_runs_again(tracking: MlflowTracking) -> None:
    run = replace(RUN, experiment="tidied-away")
    first = run_of(tracking.record(run), tracking)
    tracking.client.delete_experiment(first.info.experiment_id)
    second = run_of(tracking.record(replace(run, dagster_run_id="dagster-2")), tracking)
    assert second.info.experiment_id == first.info.experiment_id
    assert run_of(f"/{first.info.run_id}", tracking).info.lifecycle_stage == "active"
    tracking.client.delete_experiment(first.info.experiment_id)
    assert tracking.add_metrics(run.experiment, "dagster-2", {"f1": 1.0}) is not None


FOLDERS = ["x" * 251, "x" * 250 + "y", "..", "../..", ".", "/", "a/./b", "a\n?", "größe 😀", ""]


def test_a_metric_may_be_named_after_any_folder(tracking: MlflowTracking) -> None:
    metrics = {f"{folder}_f1": number / 8 for number, folder in enumerate(FOLDERS)}
    link = tracking.record(replace(RUN, experiment="folders", metrics=metrics))
    assert tracking.add_metrics("folders", RUN.dagster_run_id, {f"{folder}_f2": 1.0 for folder in FOLDERS}) == link
    written = run_of(link, tracking).data.metrics
    assert sorted(value for name, value in written.items() if name.endswith("_f1")) == sorted(metrics.values())
    assert len([name for name in written if name.endswith("_f2")]) == len(FOLDERS)
    assert {"größe __f1", "_f1"} <= written.keys(), "what can be kept is kept"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["database", "server"])
def away(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MlflowTracking:
    """An MLflow that nobody serves."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    # Otherwise MLflow waits for its database for about two minutes.
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    port = closed_port()
    uri = {"database": f"postgresql+psycopg2://u:p@127.0.0.1:{port}/mlflow", "server": f"http://127.0.0.1:{port}"}
    return MlflowTracking(tracking_uri=uri[request.param], artifact_root="s3://artifacts/mlflow", ui_url=UI)


def test_an_mlflow_that_cannot_be_reached_is_an_outage(away: MlflowTracking) -> None:
    with pytest.raises(TrackingUnavailable, match="MLflow cannot") as raised:
        away.record(RUN)
    assert "u:p@" not in str(raised.value), "no password in what a person sees"


def test_so_is_an_object_store_that_refuses(tracking: MlflowTracking, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(tracking, artifact_root=f"s3://no-such-bucket-{uuid.uuid4().hex[:8]}/mlflow")
    with pytest.raises(TrackingUnavailable, match="MLflow cannot"):
        missing.record(replace(RUN, experiment="lost"))


def test_a_mistake_is_no_outage(tracking: MlflowTracking) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(TrackingRejected) as raised:
        tracking.record(replace(RUN, dagster_run_id="mistaken", params={"a name: with \x00 in it?": 1}))
    assert isinstance(raised.value.__cause__, MlflowException)
