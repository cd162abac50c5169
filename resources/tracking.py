"""Experiment tracking and the model registry, in MLflow.

Belongs here: writing runs and model versions, and telling a passing outage from a mistake. Not here: what is worth
recording (the stages say so).
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import TYPE_CHECKING, Any

import xxhash

from assets.tracking import Dataset, ModelVersion, RunRecord, TrackingRejected, TrackingUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

CHAMPION = "champion"
FINISHED = "FINISHED"
DELETED = "deleted"
#: Without it MLflow takes every experiment for one with a language model and shows no runs at first.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
#: A link opens MLflow's page in its section of trained models; a new visitor's page starts in that of chats and traces.
SECTION = "workflowType=machine_learning"
DIGEST_TAG = "offerline.digest"
DAGSTER_RUN_TAG = "dagster.run_id"
#: Of a registered model: when the version in use was last used (seconds since 1970).
USED_TAG = "offerline.champion_used_at"
#: What a run is the record of, so that a record that comes twice is known again.
RECORD_TAG = "offerline.record"
#: Errors of MLflow that say nothing of the record: it may be taken later, once somebody has mended the key or the
#: address, if need be.
PASSING = frozenset({"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"})
PASSING |= {"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED", "ENDPOINT_NOT_FOUND"}
#: MLflow takes at most this many parameters or metrics in one call.
BATCH_LIMIT = 100
#: Longest name of a metric that MLflow takes, and what is kept of the end of one that is longer.
NAME_LIMIT, NAME_END = 250, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingRules:
    """How patiently MLflow is asked: what it does not take is kept for later, so that nobody need wait long.

    Attributes:
        retries: Further tries of a request to its server, with growing pauses (about 5 seconds in all) or as long as
            the server says; `MLFLOW_HTTP_REQUEST_MAX_RETRIES` goes before it.
        connect_timeout_seconds: How long a first connection to its database may take.
    """

    retries: int = 2
    connect_timeout_seconds: int = 5


@dataclass(frozen=True)
class MlflowTracking:
    """MLflow behind one small interface.

    Args:
        tracking_uri: A server's `http(s)://` address, or its database's URL.
        artifact_root: Where artifacts go when the tracking URI is a database; a server has its own.
        ui_url: Where a person opens MLflow's pages.
        rules: How patiently MLflow is asked.
    """

    tracking_uri: str = field(repr=False)
    artifact_root: str
    ui_url: str
    rules: TrackingRules = field(default_factory=TrackingRules)

    @cached_property
    def client(self) -> "MlflowClient":
        """The client; MLflow is imported here because that takes seconds."""
        import sqlalchemy
        from mlflow import MlflowClient
        from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES

        if not MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
            MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(self.rules.retries)
        if self.tracking_uri.startswith("postgresql"):
            # MLflow would wait for its database for minutes.
            timeout = {"connect_timeout": self.rules.connect_timeout_seconds}
            sqlalchemy.create_engine(self.tracking_uri, connect_args=timeout).connect().close()
        return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    def record(self, run: RunRecord) -> str:
        """Write one run and return the link to its page.

        Raises:
            TrackingUnavailable: MLflow cannot be reached.
            TrackingRejected: it refuses.
        """
        with _outage_named():
            experiment = self._experiment(run.experiment)
            run_id = self._write(experiment, run, "run")
        return f"{self.ui_url}/#/experiments/{experiment}/runs/{run_id}?{SECTION}"

    def add_metrics(self, experiment: str, dagster_run_id: str, metrics: Mapping[str, float]) -> str | None:
        """Add metrics to the run that belongs to a Dagster run, and return its link; None where there is none.

        Raises:
            TrackingUnavailable: MLflow cannot be reached.
            TrackingRejected: it refuses.
        """
        from mlflow.entities import Metric

        with _outage_named():
            found = self.client.search_runs(
                [self._experiment(experiment)], f"tags.`{DAGSTER_RUN_TAG}` = '{dagster_run_id}'", max_results=1
            )
            if not found:
                return None
            run_id = found[0].info.run_id
            now = int(time() * 1000)
            self.client.log_batch(
                run_id, metrics=[Metric(metric_name(name), float(value), now, 0) for name, value in metrics.items()]
            )
        return f"{self.ui_url}/#/experiments/{found[0].info.experiment_id}/runs/{run_id}?{SECTION}"

    def register(
        self, name: str, digest: str, files: Mapping[str, bytes | Path], *, run: RunRecord, description: str
    ) -> ModelVersion:
        """Register the model in use, unless a version with the same digest is registered, and make it the champion.

        The alias says which version the catalogue is made with; every earlier one stays and can be compared. A record
        that comes late does not set it back: the version that was used last has it.

        Raises:
            TrackingUnavailable: MLflow cannot be reached.
            TrackingRejected: it refuses.
        """
        with _outage_named():
            self._ensure_model(name, description)
            version = self._version_of(name, digest)
            is_new = version is None
            if version is None:
                experiment = self._experiment(run.experiment)
                run_id = self._write(experiment, run, f"version {digest} of {name}", files)
                created = self.client.create_model_version(
                    name,
                    source=f"{self.client.get_run(run_id).info.artifact_uri}/model",
                    run_id=run_id,
                    tags={DIGEST_TAG: digest},
                    description=description,
                )
                version = int(created.version)
            used = run.ended_at or time()
            if used >= float(self.client.get_registered_model(name).tags.get(USED_TAG, 0)):
                self.client.set_registered_model_tag(name, USED_TAG, str(used))
                self.client.set_registered_model_alias(name, CHAMPION, str(version))
        link = f"{self.ui_url}/#/models/{name}/versions/{version}?{SECTION}"
        return ModelVersion(name=name, version=version, is_new=is_new, link=link)

    def champion(self, name: str) -> tuple[int, str] | None:
        """Return version and digest of the champion, or None where no version was ever registered."""
        from mlflow.exceptions import MlflowException

        with _outage_named():
            try:
                version = self.client.get_model_version_by_alias(name, CHAMPION)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise
        return int(version.version), str(version.tags.get(DIGEST_TAG, ""))

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == DELETED:  # it keeps its name, and takes no runs
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        location = None if self.tracking_uri.startswith("http") else f"{self.artifact_root}/{name}"
        return str(self.client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS))

    def _write(
        self, experiment: str, run: RunRecord, record: str, model_files: Mapping[str, bytes | Path] | None = None
    ) -> str:
        """Write a run, or what is missing of it, and return its id."""
        from mlflow.entities import Metric, Param

        ended = int((run.ended_at or time()) * 1000)
        found = self._begun(experiment, run, record, ended)
        run_id = str(found.info.run_id)
        if found.info.status == FINISHED:
            return run_id
        written = found.data
        params = [Param(key, param_text(value)) for key, value in run.params.items() if key not in written.params]
        wanted = {metric_name(name): float(value) for name, value in run.metrics.items()}
        metrics = [Metric(key, value, ended, 0) for key, value in wanted.items() if key not in written.metrics]
        for start in range(0, max(len(params), len(metrics)), BATCH_LIMIT):
            piece = slice(start, start + BATCH_LIMIT)
            self.client.log_batch(run_id, params=params[piece], metrics=metrics[piece])
        if run.datasets and not found.inputs.dataset_inputs:
            self.client.log_inputs(run_id, [_dataset_input(dataset) for dataset in run.datasets])
        files: dict[str, bytes | Path] = dict(run.files)
        files.update({f"model/{path}": content for path, content in (model_files or {}).items()})
        if files:
            with TemporaryDirectory(prefix="offerline-mlflow-") as folder:
                _lay_out(files, Path(folder))
                self.client.log_artifacts(run_id, folder)
        self.client.set_terminated(run_id, FINISHED, end_time=max(ended, found.info.start_time))
        return run_id

    def _begun(self, experiment: str, run: RunRecord, record: str, ended: int) -> "Run":
        """Return the run that was begun for this very record, perhaps by a call that an outage ended, or begin one."""
        named = {DAGSTER_RUN_TAG: run.dagster_run_id, RECORD_TAG: record}
        found = self.client.search_runs(
            [experiment], " AND ".join(f"tags.`{key}` = '{value}'" for key, value in named.items()), max_results=1
        )
        if found:
            return found[0]
        began = ended - int(run.seconds * 1000)
        return self.client.create_run(experiment, start_time=began, run_name=run.name, tags={**named, **run.tags})

    def _ensure_model(self, name: str, description: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name, description=description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _version_of(self, name: str, digest: str) -> int | None:
        found = self.client.search_model_versions(f"name = '{name}' AND tag.`{DIGEST_TAG}` = '{digest}'")
        return max((int(version.version) for version in found), default=None)


def param_text(value: Any) -> str:
    """Return a parameter as MLflow keeps it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def metric_name(name: str) -> str:
    """Return a metric's name as MLflow takes it: some are made of what people call their folders."""
    safe = re.sub(r"[^\w.: -]", "_", name)
    if safe.startswith("."):  # a path upwards is no name
        safe = f"_{safe}"
    if len(safe) <= NAME_LIMIT:
        return safe
    middle = f"-{xxhash.xxh3_64_hexdigest(name.encode())}-"
    return f"{safe[: NAME_LIMIT - NAME_END - len(middle)]}{middle}{safe[-NAME_END:]}"


def _dataset_input(dataset: Dataset) -> "DatasetInput":
    from mlflow.entities import Dataset as DatasetEntity
    from mlflow.entities import DatasetInput

    return DatasetInput(
        DatasetEntity(
            name=dataset.name,
            digest=dataset.digest[:36],
            source_type="s3" if dataset.source.startswith("s3://") else "postgresql",
            source=json.dumps({"uri": dataset.source}),
            profile=json.dumps({"num_rows": dataset.rows}),
        )
    )


def _lay_out(files: Mapping[str, bytes | Path], folder: Path) -> None:
    for relative, content in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.symlink_to(content.resolve())


@contextmanager
def _outage_named() -> Iterator[None]:
    """Name what an unreachable server, database or object store raises `TrackingUnavailable`, and a refusal as well."""
    import requests
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except (requests.RequestException, OperationalError, BotoCoreError, ClientError, S3UploadFailedError) as error:
        raise TrackingUnavailable(f"MLflow cannot be reached: {error}") from error
    except MlflowException as error:
        if error.error_code in PASSING:
            raise TrackingUnavailable(f"MLflow cannot take the record now: {error.message}") from error
        raise TrackingRejected(f"MLflow refuses the record: {error.message}") from error
