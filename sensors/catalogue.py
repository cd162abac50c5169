"""Brings the whole catalogue up to date once the batches that landed together are in.

Belongs here: when that is due. Not here: what it does (see the job `catalogue`), taking in batches (see `landing`).
"""

from dataclasses import dataclass

import dagster as dg

from assets.clusters.schema import CLUSTER_EVENTS
from assets.presentation import asset_key
from assets.products.assets import PRODUCTS_CHANGED
from assets.products.schema import CATALOGUE

#: Materialisations that are looked at together.
PAGE = 100
#: A run that has not ended; queued ones count.
UNDER_WAY = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What Dagster knows at one moment, times in seconds since 1970.

    Attributes:
        newest_batch: When the newest batch changed the catalogue; None where none ever did.
        newest_attempt: When the newest run over the whole catalogue began to read, whatever came of it.
        batches_under_way: Whether a batch is being taken in, or waits to be.
        catalogue_under_way: Whether the whole catalogue is being made, or waits to be.
    """

    newest_batch: float | None
    newest_attempt: float | None
    batches_under_way: bool
    catalogue_under_way: bool


def is_due(now: Moment) -> bool:
    """Whether the whole catalogue should be made now.

    Ten batches that land together cause one run: it waits for those on their way. A batch that comes while the
    catalogue is being made is later than the run's beginning, and so a reason for the next one. A run that failed is
    tried again when something new comes, not in a loop.
    """
    if now.newest_batch is None or now.batches_under_way or now.catalogue_under_way:
        return False
    return now.newest_attempt is None or now.newest_batch >= now.newest_attempt


def read_moment(instance: dg.DagsterInstance, catalogue_job: str, ingest_job: str) -> Moment:
    """Ask Dagster how things stand."""
    change = newest_change(instance)
    return Moment(
        newest_batch=change.timestamp if change else None,
        newest_attempt=_newest_attempt(instance, catalogue_job),
        batches_under_way=_under_way(instance, ingest_job),
        catalogue_under_way=_under_way(instance, catalogue_job),
    )


def newest_change(instance: dg.DagsterInstance) -> dg.EventLogRecord | None:
    """Return the newest materialisation of the catalogue that changed a product.

    A delivery that says again what is known is no reason to make anything anew. One that does not say what it changed
    counts as a change.
    """
    cursor = None
    while True:
        page = instance.fetch_materializations(asset_key(CATALOGUE), limit=PAGE, cursor=cursor)
        for record in page.records:
            made = record.asset_materialization
            changed = made.metadata.get(PRODUCTS_CHANGED) if made is not None else None
            if changed is None or changed.value:
                return record
        if not page.has_more:
            return None
        cursor = page.cursor


def _newest_attempt(instance: dg.DagsterInstance, catalogue_job: str) -> float | None:
    """Return when the newest run began: of the job, or of a run by hand that made the clusters.

    One that was cancelled before it began has read nothing, and one that made an earlier stage alone is no attempt.
    """
    records = list(instance.get_run_records(dg.RunsFilter(job_name=catalogue_job), limit=10))
    made = instance.fetch_materializations(asset_key(CLUSTER_EVENTS), limit=1).records
    if made:
        records += instance.get_run_records(dg.RunsFilter(run_ids=[made[0].run_id]), limit=1)
    return max((record.start_time for record in records if record.start_time is not None), default=None)


def _under_way(instance: dg.DagsterInstance, job_name: str) -> bool:
    return bool(instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=list(UNDER_WAY)), limit=1))


def build_catalogue_sensor(catalogue_job: str, ingest_job: str) -> dg.SensorDefinition:
    """Return the sensor that runs the job of the whole catalogue when batches have come in."""

    @dg.sensor(
        name="catalogue_refresh",
        job_name=catalogue_job,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Brings the whole catalogue up to date once the batches that landed together are in: ten batches cause one "
            "run, and what comes during a run causes the next."
        ),
    )
    def catalogue_refresh(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = read_moment(context.instance, catalogue_job, ingest_job)
        if is_due(now):
            return dg.RunRequest()
        if now.batches_under_way:
            return dg.SkipReason("Batches are being taken in.")
        if now.catalogue_under_way:
            return dg.SkipReason("The catalogue is being made.")
        return dg.SkipReason("Nothing has changed since the catalogue was last made.")

    return catalogue_refresh
