"""Rows and listings that were rejected: how many for which reason, which ones, and sending them through again.

Belongs here: questions to the ledger and to the batches' artifacts, and asking for a replay. Not here: printing, taking
rows in (see `assets.listings`).
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from assets.batches import BatchArtifacts
from assets.catalogue import Catalogue
from assets.listings.intake import ERASED
from orchestration.settings import UserError
from resources.batch_archive import ArtifactArchive
from resources.batch_book import PostgresBatchBook
from resources.landing_zone import LandingBucket
from sensors.landing import declared_feeds, look, terms

REJECTING = pa.schema([(name, pa.string()) for name in ("batch_key", "source", "feed_path", "object_key", "artifacts")])
_REJECTING_SQL = """
SELECT batch_key, source, feed_path, object_key, artifacts::text AS artifacts
FROM catalog.current_batches
WHERE rows_rejected + products_rejected > 0 AND artifacts IS NOT NULL
ORDER BY delivered_at, batch_key
"""
#: Table of rejections -> what a row of it is called.
TABLES = {"rejected_listings": "row", "rejected_products": "listing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """One rejected row of a feed, or a listing that could not be made into a product.

    Attributes:
        batch_key: Its batch.
        source: Its source.
        object_key: The delivered file.
        place: Where in it: `row 7`, or `listing abc`.
        reason: Why it was rejected.
        field: The field that broke the contract, where it was one.
        detail: What was found and what was expected.
        raw: The row whole.
    """

    batch_key: str
    source: str
    object_key: str
    place: str
    reason: str
    field: str | None
    detail: str
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """How often a reason rejected something, and in how many batches."""

    reason: str
    rows: int
    batches: int
    example: Rejection


def rejections(
    catalogue: Catalogue, archive: ArtifactArchive, *, reasons: Collection[str] = (), source: str | None = None
) -> Iterator[Rejection]:
    """Yield what the batches that the catalogue is made of now have rejected, oldest batch first.

    Args:
        catalogue: The current catalogue.
        archive: The tables of every batch.
        reasons: Only for these reasons; all of them unless given.
        source: Only of this source.
    """
    for batch, what, piece in _pieces(catalogue, archive, source):
        meant = piece.filter(pc.is_in(piece["reason"], pa.array(sorted(reasons), pa.string()))) if reasons else piece
        for row in meant.to_pylist():
            yield _rejection(batch, row, f"{what} {row['row_number' if what == 'row' else 'listing_id']}")


def count_by_reason(found: Iterator[Rejection]) -> list[ReasonCount]:
    """Count rejections by reason, most frequent first, with the first of each; holds no more of them than that."""
    rows: Counter[str] = Counter()
    batches: dict[str, set[str]] = defaultdict(set)
    examples: dict[str, Rejection] = {}
    for rejection in found:
        rows[rejection.reason] += 1
        batches[rejection.reason].add(rejection.batch_key)
        examples.setdefault(rejection.reason, rejection)
    counts = [
        ReasonCount(reason=reason, rows=rows[reason], batches=len(batches[reason]), example=example)
        for reason, example in examples.items()
    ]
    return sorted(counts, key=lambda count: (-count.rows, count.reason))


def request_replay(
    catalogue: Catalogue,
    archive: ArtifactArchive,
    book: PostgresBatchBook,
    zone: LandingBucket,
    *,
    reasons: Collection[str],
    source: str | None = None,
) -> dict[str, int]:
    """Ask for the rows that were rejected for these reasons to be taken through again, by today's contracts.

    A batch that waits to be read again as a whole, because its contract has changed, is left to that.

    Returns:
        Batch -> how many of its rows are meant.

    Raises:
        UserError: nothing was rejected for any of these reasons, or nothing of it was kept.
    """
    if ERASED in reasons:
        raise UserError("rows of erased listings cannot go through again: nothing of them was kept")
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for rejecting, _, piece in _pieces(catalogue, archive, source, ("reason",)):
        found[rejecting["batch_key"]].update(piece["reason"].to_pylist())
    counts = {batch_key: sum(rows[reason] for reason in {*reasons}) for batch_key, rows in found.items()}
    meant = {batch_key: rows for batch_key, rows in counts.items() if rows}
    if not meant:
        known = sorted(sum(found.values(), Counter()).items(), key=lambda counted: (-counted[1], counted[0]))
        told = ", ".join(reason for reason, _ in known) or "nothing at all"
        raise UserError(f"nothing is rejected for {', '.join(sorted(reasons))}; rejected is: {told}")
    # Looked at afterwards: what is to be read again as a whole then has no rejected rows any more, until it is.
    waiting = set(look(zone, book).waiting)
    feeds = declared_feeds(zone)
    for batch_key in meant.keys() - waiting:
        batch = book.batch(batch_key)
        feed = feeds.get((batch.source, batch.feed_path))
        book.replay(batch_key, sorted(reasons), terms(feed) if feed is not None else None)
    return meant


def _pieces(
    catalogue: Catalogue, archive: ArtifactArchive, source: str | None, columns: Sequence[str] | None = None
) -> Iterator[tuple[dict[str, Any], str, pa.RecordBatch]]:
    """Yield the rejecting batches' tables piece by piece: the batch, what a row is called, the rows."""
    for batch in catalogue.read(_REJECTING_SQL, REJECTING).to_pylist():
        if source in (None, batch["source"]):
            artifacts = BatchArtifacts.from_json(batch["artifacts"])
            for table, what in TABLES.items():
                for piece in archive.scan(getattr(artifacts, table), columns):
                    yield batch, what, piece


def _rejection(batch: dict[str, Any], row: dict[str, Any], place: str) -> Rejection:
    return Rejection(
        batch_key=batch["batch_key"],
        source=batch["source"],
        object_key=batch["object_key"],
        place=place,
        reason=row["reason"],
        field=row["field"],
        detail=row["detail"],
        raw=row["raw"],
    )
