"""Experiment tracking and the model registry, in MLflow.

Belongs here: writing runs and model versions, and telling a passing outage from a mistake. Not here: what is worth
recording (the stages say so).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import TYPE_CHECKING, Any

from assets.tracking import Dataset, ModelVersion, RunRecord, TrackingUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

CHAMPION = "champion"
#: Without it MLflow takes every experiment for one with a language model and shows no runs at first.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
#: A link opens MLflow's page in its section of trained models; a new visitor's page starts in that of chats and traces.
SECTION = "workflowType=machine_learning"
DIGEST_TAG = "offerline.digest"
DAGSTER_RUN_TAG = "dagster.run_id"
#: MLflow takes at most this many parameters or metrics in one call.
BATCH_LIMIT = 100


@dataclass(frozen=True)
class MlflowTracking:
    """MLflow behind one small interface.

    Args:
        tracking_uri: A server's `http(s)://` address, or its database's URL.
        artifact_root: Where artifacts go when the tracking URI is a database; a server has its own.
        ui_url: Where a person opens MLflow's pages.
    """

    tracking_uri: str = field(repr=False)
    artifact_root: str
    ui_url: str

    @cached_property
    def client(self) -> "MlflowClient":
        """The client; MLflow is imported here because that takes seconds."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    def record(self, run: RunRecord) -> str:
        """Write one run and return the link to its page.

        Raises:
            TrackingUnavailable: MLflow cannot be reached.
        """
        with _outage_named():
            experiment = self._experiment(run.experiment)
            run_id = self._write(experiment, run)
        return f"{self.ui_url}/#/experiments/{experiment}/runs/{run_id}?{SECTION}"

    def add_metrics(self, experiment: str, dagster_run_id: str, metrics: Mapping[str, float]) -> str | None:
        """Add metrics to the run that belongs to a Dagster run, and return its link; None where there is none.

        Raises:
            TrackingUnavailable: MLflow cannot be reached.
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
            self.client.log_batch(run_id, metrics=[Metric(key, float(value), now, 0) for key, value in metrics.items()])
        return f"{self.ui_url}/#/experiments/{found[0].info.experiment_id}/runs/{run_id}?{SECTION}"

    def register(
        self, name: str, digest: str, files: Mapping[str, bytes | Path], *, run: RunRecord, description: str
    ) -> ModelVersion:
        """Register the model in use, unless a version with the same digest is registered, and make it the champion.

        The alias says which version the catalogue is made with; every earlier one stays and can be compared.

        Raises:
            TrackingUnavailable: MLflow cannot be reached.
        """
        with _outage_named():
            self._ensure_model(name, description)
            version = self._version_of(name, digest)
            is_new = version is None
            if version is None:
                experiment = self._experiment(run.experiment)
                run_id = self._write(experiment, run, files)
                created = self.client.create_model_version(
                    name,
                    source=f"{self.client.get_run(run_id).info.artifact_uri}/model",
                    run_id=run_id,
                    tags={DIGEST_TAG: digest},
                    description=description,
                )
                version = int(created.version)
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
            return str(found.experiment_id)
        location = None if self.tracking_uri.startswith("http") else f"{self.artifact_root}/{name}"
        return str(self.client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS))

    def _write(self, experiment: str, run: RunRecord, model_files: Mapping[str, bytes | Path] | None = None) -> str:
        from mlflow.entities import Metric, Param

        tags = {DAGSTER_RUN_TAG: run.dagster_run_id, **run.tags}
        now = int(time() * 1000)
        began = now - int(run.seconds * 1000)
        run_id = str(self.client.create_run(experiment, start_time=began, run_name=run.name, tags=tags).info.run_id)
        params = [Param(key, _param_text(value)) for key, value in run.params.items()]
        metrics = [Metric(key, float(value), now, 0) for key, value in run.metrics.items()]
        for start in range(0, max(len(params), len(metrics), 1), BATCH_LIMIT):
            piece = slice(start, start + BATCH_LIMIT)
            self.client.log_batch(run_id, params=params[piece], metrics=metrics[piece])
        if run.datasets:
            self.client.log_inputs(run_id, [_dataset_input(dataset) for dataset in run.datasets])
        files: dict[str, bytes | Path] = dict(run.files)
        files.update({f"model/{path}": content for path, content in (model_files or {}).items()})
        if files:
            with TemporaryDirectory(prefix="offerline-mlflow-") as folder:
                _lay_out(files, Path(folder))
                self.client.log_artifacts(run_id, folder)
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

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


def _param_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


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
    """Turn what an unreachable server, database or object store raises into `TrackingUnavailable`."""
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
        if error.error_code in ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"):
            raise TrackingUnavailable(f"MLflow cannot take the record now: {error.message}") from error
        raise
