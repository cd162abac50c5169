"""What stages tell the experiment tracker, and the port to it.

Belongs here: records of runs and model versions as values. Not here: MLflow (see `resources.tracking`), what a stage
finds worth recording.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from assets.failures import PermanentFailure, TransientFailure


class TrackingError(RuntimeError):
    """A record did not arrive in MLflow; the catalogue does not depend on it."""


class TrackingUnavailable(TrackingError, TransientFailure):
    """MLflow or its store cannot be reached."""


class TrackingDelayed(TrackingUnavailable):
    """The same, but nothing is lost: the record is kept and will be delivered later."""


class TrackingRejected(TrackingError, PermanentFailure):
    """MLflow will not take the record as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What a run worked on: a name, a digest of the content, where it is and how many rows it has."""

    name: str
    digest: str
    source: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Everything worth keeping of one run.

    `files` maps paths below the run's artifacts to their bytes: plots, tables, configuration. `seconds` is how long the
    recorded work took before it was recorded, `ended_at` when that was (seconds since 1970; now unless given).
    """

    experiment: str
    name: str
    dagster_run_id: str
    datasets: tuple[Dataset, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version of a registered model, and whether this call made it."""

    name: str
    version: int
    is_new: bool
    link: str


class ExperimentTracker(Protocol):
    """Keeps runs and model versions. What it cannot take or refuses (`TrackingError`) never stops the catalogue.

    The same record twice is one run: that of a Dagster run in an experiment, or of a model version.
    """

    def record(self, run: RunRecord) -> str:
        """Write one run and return the link to its page; raises `TrackingError`."""
        ...

    def add_metrics(self, experiment: str, dagster_run_id: str, metrics: Mapping[str, float]) -> str | None:
        """Add metrics to the run of a Dagster run and return its link, or None where there is no such run.

        Raises `TrackingError`.
        """
        ...

    def register(
        self, name: str, digest: str, files: Mapping[str, bytes | Path], *, run: RunRecord, description: str
    ) -> ModelVersion:
        """Register the model in use, once per digest, and make it the champion; raises `TrackingError`."""
        ...


def delivered(deliver: Callable[[], Mapping[str, Any]], warn: Callable[[str], None]) -> dict[str, Any]:
    """Deliver a record, and return what that adds to the metadata of its asset.

    That it did not arrive is told there and by `warn`, and does not stop the catalogue.
    """
    try:
        return dict(deliver())
    except TrackingError as error:
        warn(str(error))
        return {"mlflow": str(error)}
