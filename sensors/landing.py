"""Starts a run for every feed that a source delivers.

Belongs here: the thin shell around the decision. Not here: the decision (see `deliveries`), reading feeds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import PurePosixPath

import dagster as dg

from assets.batches import BATCHES
from assets.listings.feeds import MAX_CONTRACT_BYTES, ContractError, FeedContract, FeedContracts, load_contracts
from assets.presentation import asset_key
from assets.products.schema import CATALOGUE
from resources.batch_book import LedgerEntry, PostgresBatchBook
from resources.landing_zone import LandingBucket
from sensors.deliveries import CONTRACTS_FILE, Arrival, KnownDelivery, NewestBatch, ObjectVersion, plan_landing

#: A requested batch whose run has not shown up after this time is requested again.
PATIENCE = timedelta(minutes=2)
#: Runs of one batch that may come to nothing before a person must look.
MAX_ATTEMPTS = 3
#: How far the clocks of PostgreSQL and of a runner may be apart.
CLOCK_TOLERANCE = timedelta(seconds=5)
#: Batches, newest first, of which Dagster must have heard. A later one makes up for all before it.
LOOKED_BACK = 100
PARTITION_TAG = "dagster/partition"


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """What looking at the landing bucket found.

    Attributes:
        arrivals: Deliveries that were new, in order of delivery.
        waiting: Batches that wait for a run, oldest first.
        problems: Contract files that cannot be read, as messages; their feeds are left for the next look.
    """

    arrivals: tuple[Arrival, ...]
    waiting: tuple[str, ...]
    problems: tuple[str, ...]


def look(zone: LandingBucket, book: PostgresBatchBook) -> Landed:
    """Write down what is new in the landing bucket and return what waits for a run.

    A failed listing raises: unreadable is not empty.
    """
    listed = _listed(zone)
    contracts, problems = _contracts(zone, listed)
    # Feeds below a contract that cannot be read keep: ignoring them would say that nobody declared them.
    unreadable = tuple(problems)
    readable = [v for v in listed if not any(_is_below(v.object_key, prefix) for prefix in unreadable)]
    plan = plan_landing(readable, _known(book), contracts, _newest(book))
    reread = [(key, *terms(feed)) for key, feed in plan.reread]
    book.write_down(map(_entry, plan.arrivals), plan.replaced, plan.declared, reread)
    waiting = [row["batch_key"] for row in book.open_deliveries() if row["state"] == "pending"]
    return Landed(arrivals=plan.arrivals, waiting=tuple(dict.fromkeys(waiting)), problems=tuple(problems.values()))


def _listed(zone: LandingBucket) -> list[ObjectVersion]:
    return [
        ObjectVersion(last_modified=v.last_modified, object_key=v.key, etag=v.etag, size=v.size)
        for v in zone.versions()
    ]


def _contracts(
    zone: LandingBucket, listed: Sequence[ObjectVersion]
) -> tuple[Mapping[str, FeedContracts], Mapping[str, str]]:
    """Return `prefix -> contracts` and `prefix -> what is wrong with its contract file`."""
    contracts: dict[str, FeedContracts] = {}
    problems: dict[str, str] = {}
    for version in listed:
        path = PurePosixPath(version.object_key)
        if path.name != CONTRACTS_FILE:
            continue
        prefix = "" if str(path.parent) == "." else str(path.parent)
        try:
            contracts[prefix] = load_contracts(
                zone.read(version.object_key, MAX_CONTRACT_BYTES), origin=version.object_key
            )
        except ContractError as error:
            problems[prefix] = str(error)
    return contracts, problems


def terms(contract: FeedContract) -> tuple[str, str, str]:
    """Return what the ledger keeps of a contract: its mode, all of it as JSON, its digest."""
    return contract.mode.value, contract.model_dump_json(), contract.digest


def declared_feeds(zone: LandingBucket) -> dict[tuple[str, str], FeedContract]:
    """Return `(source, feed path) -> contract` of every feed that is declared now in a file that can be read."""
    contracts, _ = _contracts(zone, _listed(zone))
    return {(feed.source, feed.path): feed for feeds in contracts.values() for feed in feeds}


def _is_below(object_key: str, prefix: str) -> bool:
    return not prefix or object_key.startswith(f"{prefix}/")


def _newest(book: PostgresBatchBook) -> dict[tuple[str, str], NewestBatch]:
    return {
        (row["source"], row["feed_path"]): NewestBatch(
            batch_key=row["batch_key"],
            contract_digest=row["contract_digest"],
            delivered_at=row["delivered_at"],
            refused=row["refused"],
        )
        for row in book.newest_batches()
    }


def _known(book: PostgresBatchBook) -> list[KnownDelivery]:
    return [
        KnownDelivery(
            delivery_id=row["delivery_id"],
            object=ObjectVersion(
                last_modified=row["last_modified"], object_key=row["object_key"], etag=row["etag"], size=row["size"]
            ),
            state=row["state"],
            batch_key=row["batch_key"],
            is_kept=row["is_kept"],
        )
        for row in book.deliveries().to_pylist()
    ]


def _entry(arrival: Arrival) -> LedgerEntry:
    version, contract = arrival.object, arrival.contract
    entry = partial(
        LedgerEntry,
        object_key=version.object_key,
        etag=version.etag,
        size=version.size,
        last_modified=version.last_modified,
    )
    if contract is None:
        return entry(state="ignored", reason=arrival.reason)
    mode, text, digest = terms(contract)
    return entry(
        state="repeated" if arrival.repeats else "pending",
        reason="the same bytes as the newest delivery of this feed" if arrival.repeats else None,
        batch_key=arrival.batch_key,
        source=contract.source,
        feed_path=contract.path,
        mode=mode,
        contract=text,
        contract_digest=digest,
    )


def release_lost_requests(
    book: PostgresBatchBook,
    instance: dg.DagsterInstance,
    now: datetime,
    is_alive: Callable[[str], bool] = lambda _: True,
) -> None:
    """Let batches wait again whose run never started, failed or was cancelled; give up after `MAX_ATTEMPTS`.

    A run that ended says so at once; only for one that has not shown up yet is there `PATIENCE`, unless the process
    that would have made it is known to be dead.

    Args:
        book: The ledger of deliveries.
        instance: Dagster's instance.
        now: The time.
        is_alive: Whether a process that claimed batches still lives, as far as one can tell here.
    """
    for row in book.open_deliveries():
        if row["state"] != "requested":
            continue
        run = _run_of(instance, row["batch_key"], row["updated_at"])
        is_orphan = row["claimed_by"] is not None and not is_alive(row["claimed_by"])
        if run is None and not is_orphan and now - row["updated_at"] < PATIENCE:
            continue
        if run is not None and not run.is_finished:
            continue
        reason = f"its run ended as {run.status.value}" if run is not None else "its run never started"
        if row["attempts"] < MAX_ATTEMPTS:
            book.release(row["batch_key"], reason)
        else:
            way_back = f"see the run's log, then: offerline accept {row['batch_key']}"
            book.refuse(row["batch_key"], f"{reason}, {row['attempts']} times; {way_back}")


def _run_of(instance: dg.DagsterInstance, batch_key: str, requested_at: datetime) -> dg.DagsterRun | None:
    """Return the newest run of the batch that was made for this request; an earlier one says nothing of it."""
    newest = instance.get_run_records(dg.RunsFilter(tags={PARTITION_TAG: batch_key}), limit=1)
    if not newest or newest[0].create_timestamp < requested_at - CLOCK_TOLERANCE:
        return None
    return newest[0].dagster_run


def tell_of_applied(book: PostgresBatchBook, instance: dg.DagsterInstance) -> None:
    """Tell Dagster of batches whose run died after it had brought them into the catalogue, and before it said so.

    What is made of the catalogue waits for that word. What they changed is not known by now, which counts as a change.
    """
    brought = {row["run_id"]: row["batch_key"] for row in book.last_applied(LOOKED_BACK)}
    if not brought:
        return
    failed = dg.RunsFilter(run_ids=list(brought), statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
    for run in instance.get_runs(failed):
        batch_key = brought[run.run_id]
        if not _has_been_told(instance, batch_key, run.run_id):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    asset_key(CATALOGUE),
                    description=f"Run {run.run_id} brought it into the catalogue and ended before it could say so.",
                    partition=batch_key,
                )
            )


def _has_been_told(instance: dg.DagsterInstance, batch_key: str, run_id: str) -> bool:
    """Whether Dagster has heard of a batch since the run began."""
    wanted = dg.AssetRecordsFilter(asset_key=asset_key(CATALOGUE), asset_partitions=[batch_key])
    told = instance.fetch_materializations(wanted, limit=1).records
    begun = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_START, limit=1).records
    return not begun or (bool(told) and told[0].storage_id > begun[0].storage_id)


def build_landing_sensor(job_name: str) -> dg.SensorDefinition:
    """Return the sensor that runs the job for every batch that waits."""

    @dg.sensor(
        name="landing",
        job_name=job_name,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Looks at the landing bucket and starts one run per delivered version of a feed. Every version is written "
            "down in catalog.deliveries: overwritten, late and deleted objects lose nothing, and none is read twice."
        ),
    )
    def landing(
        context: dg.SensorEvaluationContext,
        landing_zone: dg.ResourceParam[LandingBucket],
        batch_book: dg.ResourceParam[PostgresBatchBook],
    ) -> dg.SensorResult | dg.SkipReason:
        release_lost_requests(batch_book, context.instance, datetime.now(UTC))
        tell_of_applied(batch_book, context.instance)
        landed = look(landing_zone, batch_book)
        for problem in landed.problems:
            context.log.error(problem)
        claimed = batch_book.claim(landed.waiting)
        if not claimed:
            return dg.SkipReason("; ".join(landed.problems) or "Nothing new has been delivered.")
        return dg.SensorResult(
            run_requests=list(requests(batch_book, claimed)),
            dynamic_partitions_requests=[BATCHES.build_add_request(claimed)],
        )

    return landing


def requests(book: PostgresBatchBook, batch_keys: Sequence[str]) -> Iterator[dg.RunRequest]:
    """Yield one run request per claimed batch. They carry no run key: the ledger decides what runs again."""
    for batch_key in batch_keys:
        batch = book.batch(batch_key)
        yield dg.RunRequest(
            partition_key=batch_key, tags={"offerline/source": batch.source, "offerline/feed": batch.object_key}
        )
