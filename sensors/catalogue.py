"""Brings the whole catalogue up to date once the batches that landed together are in.

Belongs here: when that is due. Not here: what it does (see the job `catalogue`), taking in batches (see `landing`).
"""

from dataclasses import dataclass
from itertools import takewhile
from time import time

import dagster as dg

from assets.clusters.schema import CLUSTER_EVENTS
from assets.presentation import asset_key
from assets.products.assets import PRODUCTS_CHANGED
from assets.products.schema import CATALOGUE
from sensors.landing import PARTITION_TAG

#: Materialisations that are looked at together.
PAGE = 100
#: Attempts that may fail one after the other before only something new causes another.
MOST_ATTEMPTS = 7
#: How long after a failed attempt the next one is due, twice as long after every further one (seconds): what the steps'
#: own retries could not outlast is an outage of an hour or of a night, which nobody should have to clear up after.
PAUSE = 600.0
#: How long batches may keep a change waiting, counted from the last attempt (seconds).
LONGEST_WAIT = 3600.0
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
        now: The moment.
        newest_batch: When the newest batch changed the catalogue; None where none ever did.
        newest_attempt: When the newest run over the whole catalogue began to read, whatever came of it.
        failures: How many runs over it have failed since one succeeded, `MOST_ATTEMPTS` at most.
        batches_under_way: Whether a batch is being taken in, or waits to be.
        catalogue_under_way: Whether the whole catalogue is being made, or waits to be.
    """

    now: float
    newest_batch: float | None
    newest_attempt: float | None
    failures: int
    batches_under_way: bool
    catalogue_under_way: bool

    @property
    def is_changed(self) -> bool:
        """Whether a batch has changed what the newest attempt read, if there was one."""
        if self.newest_batch is None:
            return False
        return self.newest_attempt is None or self.newest_batch >= self.newest_attempt

    @property
    def since_attempt(self) -> float:
        """Seconds since the newest attempt began; none where there was none: the first batches may take their time."""
        return 0.0 if self.newest_attempt is None else self.now - self.newest_attempt


def is_due(moment: Moment) -> bool:
    """Whether the whole catalogue should be made now.

    Ten batches that land together cause one run: it waits for those on their way, but not for ever. A batch that comes
    while the catalogue is being made is later than the run's beginning, and so a reason for the next one. A run that
    failed is tried again when something new comes, and some times without that, after pauses that grow.
    """
    if moment.catalogue_under_way:
        return False
    if moment.batches_under_way:
        return moment.is_changed and moment.since_attempt >= LONGEST_WAIT
    if moment.is_changed:
        return True
    return 0 < moment.failures < MOST_ATTEMPTS and moment.since_attempt >= PAUSE * 2 ** (moment.failures - 1)


def read_moment(instance: dg.DagsterInstance, catalogue_job: str, ingest_job: str) -> Moment:
    """Ask Dagster how things stand."""
    change = newest_change(instance)
    attempts = _attempts(instance, catalogue_job)
    return Moment(
        now=time(),
        newest_batch=change.timestamp if change else None,
        newest_attempt=attempts[0][0] if attempts else None,
        failures=sum(takewhile(bool, (has_failed for _, has_failed in attempts))),
        batches_under_way=_under_way(instance, ingest_job),
        catalogue_under_way=bool(catalogue_runs(instance, catalogue_job)),
    )


def catalogue_runs(instance: dg.DagsterInstance, catalogue_job: str) -> list[dg.DagsterRun]:
    """Return the runs over the whole catalogue that have not ended: of its job, or begun by hand.

    What a person materialises by hand has the name of no job; a batch is a partition, and the whole is none.
    """
    return [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=list(UNDER_WAY)))
        if run.job_name == catalogue_job or (run.asset_selection and PARTITION_TAG not in run.tags)
    ]


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


def _attempts(instance: dg.DagsterInstance, catalogue_job: str) -> list[tuple[float, bool]]:
    """Return when the last `MOST_ATTEMPTS` runs began and whether they failed, the newest first.

    They are those of the job, and the last one by hand that made the clusters.

    One that was cancelled before it began has read nothing, and one that made an earlier stage alone is no attempt. One
    that failed before it began is: the next would fail as well.
    """
    records = {
        record.dagster_run.run_id: record
        for record in instance.get_run_records(dg.RunsFilter(job_name=catalogue_job), limit=2 * MOST_ATTEMPTS)
    }
    made = instance.fetch_materializations(asset_key(CLUSTER_EVENTS), limit=1).records
    if made:
        by_hand = instance.get_run_records(dg.RunsFilter(run_ids=[made[0].run_id]), limit=1)
        records |= {record.dagster_run.run_id: record for record in by_hand}
    attempts = []
    for record in records.values():
        has_failed = record.dagster_run.status == dg.DagsterRunStatus.FAILURE
        if record.start_time is not None:
            attempts.append((record.start_time, has_failed))
        elif has_failed:
            attempts.append((record.create_timestamp.timestamp(), has_failed))
    return sorted(attempts, reverse=True)[:MOST_ATTEMPTS]


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
        moment = read_moment(context.instance, catalogue_job, ingest_job)
        if is_due(moment):
            return dg.RunRequest()
        if moment.batches_under_way:
            return dg.SkipReason("Batches are being taken in.")
        if moment.catalogue_under_way:
            return dg.SkipReason("The catalogue is being made.")
        if moment.failures:
            return dg.SkipReason(
                f"The last {moment.failures} runs failed; the next is due after a pause, or when something new comes."
            )
        return dg.SkipReason("Nothing has changed since the catalogue was last made.")

    return catalogue_refresh
