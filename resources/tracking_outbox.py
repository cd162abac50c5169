"""Keeps for later what MLflow cannot take now, and delivers it, oldest first, as soon as it can.

Belongs here: the order of deliveries, and the form in which a record waits. Not here: MLflow (see `tracking`), what is
worth recording.
"""

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any, Generic, Literal, TypeVar

import structlog
import xxhash
from pydantic import ConfigDict, TypeAdapter, ValidationError

from assets.tracking import ModelVersion, RunRecord, TrackingDelayed, TrackingRejected, TrackingUnavailable
from resources.object_store import ObjectNotFound, ObjectStore
from resources.tracking import MlflowTracking, param_text

T = TypeVar("T")

#: Records that wait, named by when they were kept and what they are of.
WAITING = "tracking/waiting/"
#: Records that were refused, or that MLflow failed over while it took others: no hindrance to those behind them, and
#: tried again from time to time, as somebody may have mended what was in their way.
REFUSED = "tracking/refused/"
#: What a record that cannot be read raises.
_UNREADABLE = (ValidationError, zipfile.BadZipFile, KeyError)
_CONTENT_TYPE = "application/zip"
_log = structlog.get_logger(__name__)


class Kept(ABC, Generic[T]):
    """A call of `MlflowTracking`, to be made later; `T` is what it returns."""

    __slots__ = ()

    @property
    @abstractmethod
    def label(self) -> str:
        """What it is called and what it is of, as a part of a name."""

    @abstractmethod
    def deliver(self, tracker: MlflowTracking) -> T:
        """Make the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun(Kept[str]):
    """`MlflowTracking.record`, to be called later."""

    call: Literal["record"] = "record"
    run: RunRecord

    @property
    def label(self) -> str:
        """See `Kept.label`."""
        return f"{self.call}-{_digest(self.run.experiment, self.run.dagster_run_id)}"

    def deliver(self, tracker: MlflowTracking) -> str:
        """Do it."""
        return tracker.record(self.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMetrics(Kept[str | None]):
    """`MlflowTracking.add_metrics`, to be called later."""

    call: Literal["add_metrics"] = "add_metrics"
    experiment: str
    dagster_run_id: str
    metrics: Mapping[str, float]

    @property
    def label(self) -> str:
        """See `Kept.label`; the same digest as that of the run which the metrics belong to."""
        return f"{self.call}-{_digest(self.experiment, self.dagster_run_id)}"

    def deliver(self, tracker: MlflowTracking) -> str | None:
        """Do it."""
        return tracker.add_metrics(self.experiment, self.dagster_run_id, self.metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVersion(Kept[ModelVersion]):
    """`MlflowTracking.register`, to be called later."""

    call: Literal["register"] = "register"
    name: str
    digest: str
    run: RunRecord
    description: str
    files: Mapping[str, bytes | Path] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """See `Kept.label`; versions of one model begin alike."""
        return f"{self.call}-{_digest(self.name)}-{_digest(self.digest)}"

    def deliver(self, tracker: MlflowTracking) -> ModelVersion:
        """Do it."""
        return tracker.register(self.name, self.digest, self.files, run=self.run, description=self.description)


#: JSON knows no number that is not finite; Python and MLflow do.
_KEPT: TypeAdapter[Any] = TypeAdapter(
    KeptRun | KeptMetrics | KeptVersion, config=ConfigDict(ser_json_inf_nan="constants")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How many records have not arrived: those that wait, and those that were set aside."""

    waiting: int
    set_aside: int


@dataclass(frozen=True, slots=True)
class TrackingOutbox:
    """MLflow that loses nothing while it is away; satisfies `assets.tracking.ExperimentTracker`.

    What cannot be delivered waits in the object store, an object per record, and goes before everything that comes
    later. It is removed once it is delivered; where a crash prevents that it is delivered again, which makes no second
    run. What is refused is set aside, and so is what MLflow fails over while it takes the next record.

    Args:
        tracker: MLflow.
        store: The object store.
        bucket: The artifacts bucket.
        alone: Keeps every other deliverer out while the block lasts: two at once would write some records twice.
        again_after: How long a record that was set aside rests before it is tried again.
    """

    tracker: MlflowTracking
    store: ObjectStore
    bucket: str
    alone: Callable[[], AbstractContextManager[object]] = field(default=nullcontext, kw_only=True)
    again_after: timedelta = field(default=timedelta(days=1), kw_only=True)

    def record(self, run: RunRecord) -> str:
        """See `ExperimentTracker.record`; raises `TrackingDelayed` where the run is kept for later."""
        return self._deliver(KeptRun(run=_dated(run)))

    def add_metrics(self, experiment: str, dagster_run_id: str, metrics: Mapping[str, float]) -> str | None:
        """See `ExperimentTracker.add_metrics`; raises `TrackingDelayed` where they are kept for later."""
        return self._deliver(KeptMetrics(experiment=experiment, dagster_run_id=dagster_run_id, metrics=dict(metrics)))

    def register(
        self, name: str, digest: str, files: Mapping[str, bytes | Path], *, run: RunRecord, description: str
    ) -> ModelVersion:
        """See `ExperimentTracker.register`; raises `TrackingDelayed` where the version is kept, with its files."""
        return self._deliver(
            KeptVersion(name=name, digest=digest, run=_dated(run), description=description, files=files)
        )

    def _deliver(self, kept: Kept[T]) -> T:
        with self.alone():
            try:
                hindered = self._deliver_waiting()
                if _follows(kept.label, self._keys(WAITING) + self._keys(REFUSED)):
                    raise TrackingUnavailable("the run that it belongs to waits")
                delivered = kept.deliver(self.tracker)
            except TrackingUnavailable as error:
                self._keep(kept, WAITING)
                raise TrackingDelayed(f"kept for later: {error}") from error
            except TrackingRejected as error:
                self._keep(kept, REFUSED)
                raise TrackingRejected(f"set aside: {error}") from error
            if hindered:
                self._set_aside(hindered, "MLflow takes others and fails over this one")
                self._deliver_waiting()
            self._try_again()
            return delivered

    def _deliver_waiting(self) -> str | None:
        """Deliver what waits, oldest first, up to the first record that MLflow cannot take now; return its key."""
        for key in self._keys(WAITING):
            if _follows(key, self._keys(REFUSED)):
                self._set_aside(key, "the run that it belongs to is set aside")
                continue
            try:
                self._hand_over(key)
            except TrackingUnavailable:
                return key
            except (TrackingRejected, *_UNREADABLE) as error:
                self._set_aside(key, str(error))
        return None

    def _try_again(self) -> None:
        """Deliver what was set aside and has rested; what fails again rests again."""
        rested = datetime.now(UTC) - self.again_after
        for version in self.store.list(self.bucket, REFUSED):
            if version.last_modified > rested or _follows(version.key, self._keys(REFUSED)):
                continue
            try:
                self._hand_over(version.key)
            except (TrackingUnavailable, TrackingRejected, *_UNREADABLE) as error:
                self._set_aside(version.key, str(error))
                if isinstance(error, TrackingUnavailable):
                    return  # the next ones another time: MLflow may be away again

    def _hand_over(self, key: str) -> None:
        with TemporaryDirectory(prefix="offerline-tracking-") as folder:
            path = Path(folder, "kept.zip")
            try:
                self.store.download(self.bucket, key, path)
            except ObjectNotFound:
                return  # somebody else has delivered it since the listing, or erased it
            _unpack(path, Path(folder)).deliver(self.tracker)
        self.store.delete(self.bucket, key)

    def _set_aside(self, key: str, reason: str) -> None:
        _log.warning("a tracking record is set aside", key=key, reason=reason)
        aside = REFUSED + key.rpartition("/")[2]
        with TemporaryDirectory(prefix="offerline-tracking-") as folder:
            path = Path(folder, "kept.zip")
            self.store.download(self.bucket, key, path)
            self.store.put_file(self.bucket, aside, path, content_type=_CONTENT_TYPE)
        if key != aside:
            self.store.delete(self.bucket, key)

    def _keys(self, prefix: str) -> list[str]:
        """Return the keys of what lies there, oldest first."""
        return [version.key for version in self.store.list(self.bucket, prefix)]

    def _keep(self, kept: Kept[Any], prefix: str) -> None:
        if isinstance(kept, KeptVersion):
            same_model = [key for key in self._keys(prefix) if f"-{kept.call}-{_digest(kept.name)}-" in key]
            if same_model and same_model[-1].endswith(f"{kept.label}.zip"):
                return  # a run without a new model registers the same one, whose files may be large
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{kept.label}.zip"
        with TemporaryDirectory(prefix="offerline-tracking-") as folder:
            path = Path(folder, "kept.zip")
            _pack(kept, path)
            self.store.put_file(self.bucket, prefix + name, path, if_absent=True, content_type=_CONTENT_TYPE)


def count_backlog(store: ObjectStore, bucket: str) -> Backlog:
    """Count the records that have not arrived."""
    waiting, set_aside = (sum(1 for _ in store.list(bucket, prefix)) for prefix in (WAITING, REFUSED))
    return Backlog(waiting=waiting, set_aside=set_aside)


def _follows(name: str, others: Iterable[str]) -> bool:
    """Whether these are metrics of a run that is among the others: without it they would belong to nothing."""
    of_run = name.removesuffix(".zip").partition("add_metrics-")[2]
    return bool(of_run) and any(other.endswith(f"-record-{of_run}.zip") for other in others)


def _digest(*texts: str) -> str:
    return xxhash.xxh3_64_hexdigest("\0".join(texts).encode())


def _dated(run: RunRecord) -> RunRecord:
    """Return the run with the moment of its end, and parameters as they will be written."""
    params = {name: param_text(value) for name, value in run.params.items()}
    return replace(run, params=params, ended_at=run.ended_at or time())


def _pack(kept: Kept[Any], path: Path) -> None:
    """Write a record as a ZIP file: `record.json`, the run's files and the model's."""
    files: dict[str, bytes | Path] = {}
    if isinstance(kept, KeptRun | KeptVersion):
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


def _unpack(path: Path, folder: Path) -> Kept[Any]:
    """Read a record; a model's files, which may be large, are put into the folder."""
    with zipfile.ZipFile(path) as archive:
        kept: Kept[Any] = _KEPT.validate_json(archive.read("record.json"))
        names = [name.partition("/") for name in archive.namelist()]
        if isinstance(kept, KeptRun | KeptVersion):
            files = {name: archive.read(f"run/{name}") for part, _, name in names if part == "run"}
            kept = replace(kept, run=replace(kept.run, files=files))
        if isinstance(kept, KeptVersion):
            model = {name: Path(archive.extract(f"model/{name}", folder)) for part, _, name in names if part == "model"}
            kept = replace(kept, files=model)
    return kept
