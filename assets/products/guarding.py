"""How much a snapshot would take out of the catalogue, before it does, and whether it is held for that.

Belongs here: the count, the limit, and the verdict. Not here: Dagster (see `checks`), accepting (see the batch book).
"""

from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from assets.batches import Batch, BatchBook
from assets.catalogue import Catalogue
from assets.catalogue import sql as read_sql
from assets.products.applying import timeline_of

sql = partial(read_sql, "assets.products")

LISTING_IDS = pa.schema([("listing_id", pa.string())])
COUNTS = pa.schema([("listed", pa.int64()), ("missing", pa.int64())])


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRules:
    """When a snapshot is held.

    Attributes:
        most_delisted: Share of its feed's current listings that a snapshot may delist; a file that was cut off, or the
            feed of another shop under this one's name, would delist more.
    """

    most_delisted: float = 0.5


@dataclass(frozen=True, slots=True)
class Delisting:
    """What a snapshot would delist of its feed.

    Attributes:
        listed: Listings of the feed at the moment of its delivery.
        missing: Those of them that it lacks.
    """

    listed: int
    missing: int

    @property
    def share(self) -> float:
        """Missing by listed, 0 where nothing is listed."""
        return self.missing / self.listed if self.listed else 0.0


def foresee_delisting(catalogue: Catalogue, batch: Batch, listings: pa.Table) -> Delisting:
    """Count what the batch would delist of what its feed lists where it is delivered; nothing unless it is a snapshot.

    It may be late, or be read again: what came before it counts, what came after it does not. Of one that was delivered
    more than once, the delivery counts that would delist most.

    Args:
        catalogue: The current catalogue.
        batch: Which batch it is.
        listings: Its accepted rows, with `listing_id`.
    """
    if not batch.is_snapshot:
        return Delisting(0, 0)
    with catalogue.transaction() as transaction:
        transaction.stage("incoming_ids", listings.select(["listing_id"]).cast(LISTING_IDS), schema=LISTING_IDS)
        found = []
        for entry in timeline_of(transaction, batch):
            if entry.batch_key == batch.batch_key:
                at = {"source": batch.source, "feed_path": batch.feed_path, "moment": entry.delivered_at}
                (counted,) = transaction.query(sql("foresee_delisting"), COUNTS, **at).to_pylist()
                found.append(Delisting(**counted))
    return max(found, key=lambda delisting: delisting.share, default=Delisting(0, 0))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a snapshot may be applied.

    Attributes:
        delisting: What it would delist.
        is_held: Whether it waits for somebody to accept it.
        reason: The verdict in one sentence.
    """

    delisting: Delisting
    is_held: bool
    reason: str


def guard(catalogue: Catalogue, book: BatchBook, batch: Batch, listings: pa.Table, rules: SnapshotRules) -> Verdict:
    """Hold the batch where it would delist too much and nobody has accepted it; see `foresee_delisting`."""
    delisting = foresee_delisting(catalogue, batch, listings)
    would = (
        f"it would delist {delisting.missing:,} of the feed's {delisting.listed:,} listings ({delisting.share:.0%}), "
        f"and {rules.most_delisted:.0%} are allowed"
    )
    if delisting.share <= rules.most_delisted:
        return Verdict(delisting, is_held=False, reason=f"Fine: {would}.")
    if batch.is_accepted:
        return Verdict(delisting, is_held=False, reason=f"Somebody has accepted it: {would}.")
    reason = f"{would}; if that is right: offerline accept {batch.batch_key}"
    book.hold(batch.batch_key, reason, read_by=batch.contract_digest)
    return Verdict(delisting, is_held=True, reason=f"Held: {would}.")
