"""What has been delivered since we last looked: a difference of two listings.

Belongs here: deciding. Not here: reading buckets, keeping the ledger, starting runs (see `landing`).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath

import xxhash

from assets.listings.feeds import FeedContract, FeedContracts

#: Name of the file that declares the feeds of a landing prefix; it is not a feed itself.
CONTRACTS_FILE = "feeds.yaml"
#: Files that lie beside feeds and are none.
COMPANIONS = (CONTRACTS_FILE, "truth.csv")


@dataclass(frozen=True, slots=True, order=True)
class ObjectVersion:
    """One version of an object in the landing bucket, as listed."""

    last_modified: datetime
    object_key: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDelivery:
    """A delivery that the ledger knows.

    Attributes:
        delivery_id: Its number.
        object: What was delivered.
        state: Where it stands.
        batch_key: Its batch; None where no contract declares it.
        is_kept: Whether a run of its batch begins with the rows that were kept of it, not with the object.
    """

    delivery_id: int
    object: ObjectVersion
    state: str
    batch_key: str | None
    is_kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestBatch:
    """The newest delivery of a feed that was not refused, or was refused as it was declared then.

    Attributes:
        batch_key: Its batch.
        contract_digest: The contract it was, or will be, read by.
        delivered_at: When it was delivered.
        refused: Whether it could not be taken in.
    """

    batch_key: str
    contract_digest: str
    delivered_at: datetime
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A delivery that the ledger should know from now on.

    Contract and batch key are absent for an object that no contract declares; `reason` then says so. `repeats` marks
    bytes that the newest delivery of the feed, before this one, already had: they are written down and not run.
    """

    object: ObjectVersion
    contract: FeedContract | None = None
    batch_key: str | None = None
    repeats: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingPlan:
    """What the ledger must write down: arrivals in order of delivery, and waiting deliveries that are void.

    `replaced` holds ids of deliveries whose object was overwritten before it was read, and has to be read, `declared`
    ids of ignored deliveries that a contract declares by now (they arrive again), `reread` the batches that are still
    their feed's newest and whose contract has changed since, with the new one.
    """

    arrivals: tuple[Arrival, ...] = ()
    replaced: tuple[int, ...] = ()
    declared: tuple[int, ...] = ()
    reread: tuple[tuple[str, FeedContract], ...] = ()


def batch_key(source: str, feed_path: str, etag: str) -> str:
    """Return the key of a batch: the same for the same bytes of the same feed, whatever the file is called."""
    digest = xxhash.xxh3_64_hexdigest(f"{feed_path}\n{etag}".encode())
    return f"{source}-{digest[:12]}"


def plan_landing(
    listed: Iterable[ObjectVersion],
    known: Collection[KnownDelivery],
    contracts: Mapping[str, FeedContracts],
    current: Mapping[tuple[str, str], NewestBatch],
) -> LandingPlan:
    """Compare what the bucket lists with what the ledger knows.

    Args:
        listed: Every object of the bucket; an object deleted since is simply not there.
        known: Every delivery of the ledger.
        contracts: `prefix -> declared feeds`, the prefix being the folder of a `feeds.yaml` ("" for the root).
        current: `(source, feed path) ->` its newest delivery.

    An object is new when its key, ETag and time together are not known: an overwritten object is new, a late one with
    an older time is new, and a deleted one changes nothing.
    """
    present = [version for version in listed if PurePosixPath(version.object_key).name not in COMPANIONS]
    seen = {delivery.object: delivery for delivery in known}
    newest = dict(current)
    arrivals, declared = [], []
    reread: dict[str, FeedContract] = {}
    for version in sorted(present):
        delivery = seen.get(version)
        arrival = _arrival(version, contracts, newest)
        if delivery is not None and delivery.state != "ignored":
            if arrival.contract is not None and arrival.batch_key is not None:
                before = newest.get((arrival.contract.source, arrival.contract.path))
                if (
                    before
                    and before.batch_key == arrival.batch_key
                    and before.contract_digest != arrival.contract.digest
                ):
                    reread[arrival.batch_key] = arrival.contract
            continue
        if delivery is not None:
            if arrival.batch_key is None:
                continue
            declared.append(delivery.delivery_id)
        if arrival.contract is not None and arrival.batch_key is not None:
            feed = (arrival.contract.source, arrival.contract.path)
            newest[feed] = _newer(newest.get(feed), arrival.batch_key, arrival.contract, version)
            reread.pop(arrival.batch_key, None)
        arrivals.append(arrival)
    now = {version.object_key: version for version in present}
    replaced = tuple(
        delivery.delivery_id
        for delivery in known
        if delivery.state == "pending"
        and not delivery.is_kept
        and delivery.object.object_key in now
        and now[delivery.object.object_key].etag != delivery.object.etag
    )
    still_newest = {batch.batch_key for batch in newest.values()}
    return LandingPlan(
        arrivals=tuple(arrivals),
        replaced=replaced,
        declared=tuple(declared),
        reread=tuple(sorted((key, contract) for key, contract in reread.items() if key in still_newest)),
    )


def _newer(before: NewestBatch | None, key: str, contract: FeedContract, version: ObjectVersion) -> NewestBatch:
    """Return the newest batch of a feed once this version of it has arrived, which may be late."""
    if before is None or before.delivered_at <= version.last_modified:
        return NewestBatch(batch_key=key, contract_digest=contract.digest, delivered_at=version.last_modified)
    return replace(before, contract_digest=contract.digest) if before.batch_key == key else before


def _arrival(
    version: ObjectVersion, contracts: Mapping[str, FeedContracts], newest: Mapping[tuple[str, str], NewestBatch]
) -> Arrival:
    path = PurePosixPath(version.object_key)
    for folder in path.parents:
        prefix = "" if str(folder) == "." else str(folder)
        if prefix not in contracts:
            continue
        relative = str(path.relative_to(folder))
        contract = contracts[prefix].match(relative)
        if contract is None:
            reason = f"no feed in {prefix + '/' if prefix else ''}{CONTRACTS_FILE} has the path {relative!r}"
            return Arrival(object=version, reason=reason)
        key = batch_key(contract.source, contract.path, version.etag)
        before = newest.get((contract.source, contract.path))
        repeats = (
            before is not None
            and not before.refused
            and (before.batch_key, before.contract_digest) == (key, contract.digest)
            and before.delivered_at <= version.last_modified
        )
        return Arrival(object=version, contract=contract, batch_key=key, repeats=repeats)
    return Arrival(object=version, reason=f"no {CONTRACTS_FILE} beside it or above it")
