"""Keeps for later what MLflow cannot take now, and delivers it, oldest first, as soon as it can.

Belongs here: the order of deliveries, and the form in which a record waits. Not here: MLflow (see `tracking`), what is
worth recording.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any, Literal

import structlog
import xxhash
from pydantic import TypeAdapter, ValidationError

from assets.tracking import ModelVersion, RunRecord, TrackingDelayed, TrackingRejected, TrackingUnavailable
from resources.object_store import ObjectStore
from resources.tracking import MlflowTracking, param_text

#: Records that wait, named by when they were kept.
WAITING = "tracking/waiting/"
#: Records that waited and were refused in the end: nobody's loss, and no hindrance to those behind them.
REFUSED = "tracking/refused/"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun:
    """`MlflowTracking.record`, to be called later."""

    call: Literal["record"] = "record"
    run: RunRecord

    def deliver(self, tracker: MlflowTracking) -> str:
        """Do it."""
        return tracker.record(self.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMetrics:
    """`MlflowTracking.add_metrics`, to be called later."""

    call: Literal["add_metrics"] = "add_metrics"
    experiment: str
    dagster_run_id: str
    metrics: Mapping[str, float]

    def deliver(self, tracker: MlflowTracking) -> str | None:
        """Do it."""
        return tracker.add_metrics(self.experiment, self.dagster_run_id, self.metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVersion:
    """`MlflowTracking.register`, to be called later."""

    call: Literal["register"] = "register"
    name: str
    digest: str
    run: RunRecord
    description: str
    files: Mapping[str, bytes | Path] = field(default_factory=dict)

    def deliver(self, tracker: MlflowTracking) -> ModelVersion:
        """Do it."""
        return tracker.register(self.name, self.digest, self.files, run=self.run, description=self.description)


Kept = KeptRun | KeptMetrics | KeptVersion
_KEPT: TypeAdapter[Kept] = TypeAdapter(Kept)


@dataclass(frozen=True, slots=True)
class TrackingOutbox:
    """MLflow that loses nothing while it is away; satisfies `assets.tracking.ExperimentTracker`.

    What cannot be delivered waits in the object store, an object per record, and goes before everything that comes
    later. It is removed once it is delivered; where a crash prevents that it is delivered again, which makes no second
    run.

    Args:
        tracker: MLflow.
        store: The object store.
        bucket: The artifacts bucket.
    """

    tracker: MlflowTracking
    store: ObjectStore
    bucket: str

    def record(self, run: RunRecord) -> str:
        """See `ExperimentTracker.record`; raises `TrackingDelayed` where the run is kept for later."""
        link: str = self._deliver(KeptRun(run=_dated(run)))
        return link

    def add_metrics(self, experiment: str, dagster_run_id: str, metrics: Mapping[str, float]) -> str | None:
        """See `ExperimentTracker.add_metrics`; raises `TrackingDelayed` where they are kept for later."""
        link: str | None = self._deliver(
            KeptMetrics(experiment=experiment, dagster_run_id=dagster_run_id, metrics=dict(metrics))
        )
        return link

    def register(
        self, name: str, digest: str, files: Mapping[str, bytes | Path], *, run: RunRecord, description: str
    ) -> ModelVersion:
        """See `ExperimentTracker.register`; raises `TrackingDelayed` where the version is kept, with its files."""
        version: ModelVersion = self._deliver(
            KeptVersion(name=name, digest=digest, run=_dated(run), description=description, files=files)
        )
        return version

    def _deliver(self, kept: Kept) -> Any:
        try:
            self._deliver_waiting()
            return kept.deliver(self.tracker)
        except TrackingUnavailable as error:
            self._keep(kept)
            raise TrackingDelayed(f"kept for later: {error}") from error

    def _deliver_waiting(self) -> None:
        for key in self._waiting():
            with TemporaryDirectory(prefix="offerline-tracking-") as folder:
                path = Path(folder, "kept.zip")
                self.store.download(self.bucket, key, path)
                try:
                    _unpack(path, Path(folder)).deliver(self.tracker)
                except (TrackingRejected, ValidationError, zipfile.BadZipFile, KeyError) as error:
                    _log.warning("a tracking record is set aside", key=key, reason=str(error))
                    self.store.put_file(self.bucket, REFUSED + key.removeprefix(WAITING), path)
            self.store.delete(self.bucket, key)

    def _waiting(self) -> list[str]:
        """Return the keys of what waits, oldest first."""
        return [version.key for version in self.store.list(self.bucket, WAITING)]

    def _keep(self, kept: Kept) -> None:
        label: str = kept.call
        if isinstance(kept, KeptVersion):
            model, version = (xxhash.xxh3_64_hexdigest(text.encode()) for text in (kept.name, kept.digest))
            label = f"{kept.call}-{model}-{version}"
            same_model = [key for key in self._waiting() if f"-{kept.call}-{model}-" in key]
            if same_model and same_model[-1].endswith(f"{label}.zip"):
                return  # a run without a new model registers the same one, whose files may be large
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{label}.zip"
        with TemporaryDirectory(prefix="offerline-tracking-") as folder:
            path = Path(folder, "kept.zip")
            _pack(kept, path)
            self.store.put_file(self.bucket, WAITING + name, path, if_absent=True, content_type="application/zip")


def _dated(run: RunRecord) -> RunRecord:
    """Return the run with the moment of its end, and parameters as they will be written."""
    params = {name: param_text(value) for name, value in run.params.items()}
    return replace(run, params=params, ended_at=run.ended_at or time())


def _pack(kept: Kept, path: Path) -> None:
    """Write a record as a ZIP file: `record.json`, the run's files and the model's."""
    files: dict[str, bytes | Path] = {}
    if not isinstance(kept, KeptMetrics):
        files |= {f"run/{name}": content for name, content in kept.run.files.items()}
        kept = replace(kept, run=replace(kept.run, files={}))
    if isinstance(kept, KeptVersion):
        files |= {f"model/{name}": content for name, content in kept.files.items()}
        kept = replace(kept, files={})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("record.json", _KEPT.dump_json(kept))
        for name, content in files.items():
            if isinstance(content, bytes):
                archive.writestr(name, content)
            else:
                archive.write(content, name)


def _unpack(path: Path, folder: Path) -> Kept:
    """Read a record; a model's files, which may be large, are put into the folder."""
    with zipfile.ZipFile(path) as archive:
        kept = _KEPT.validate_json(archive.read("record.json"))
        names = [name.partition("/") for name in archive.namelist()]
        if not isinstance(kept, KeptMetrics):
            files = {name: archive.read(f"run/{name}") for part, _, name in names if part == "run"}
            kept = replace(kept, run=replace(kept.run, files=files))
        if isinstance(kept, KeptVersion):
            model = {name: Path(archive.extract(f"model/{name}", folder)) for part, _, name in names if part == "model"}
            kept = replace(kept, files=model)
    return kept
