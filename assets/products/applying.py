"""Bringing a cleaned batch into the current catalogue, and taking one out of it, in one transaction each.

Belongs here: the order of the statements in `sql/` and what they are told. Not here: cleaning, connections, which
deliveries count (see `timeline`).
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from assets.batches import Batch, BatchArchive, BatchArtifacts, listing_digest
from assets.catalogue import Catalogue, Transaction, upsert_columns
from assets.catalogue import sql as read_sql
from assets.listings.schema import RAW_LISTINGS
from assets.products.schema import CLEANED_PRODUCTS
from assets.products.timeline import Entry, Plan, plan_timeline
from assets.versions import table_digest

sql = partial(read_sql, "assets.products")

CHANGES = pa.schema([("change", pa.string()), ("rows", pa.int64())])
TIMELINE = pa.schema(
    [
        ("batch_key", pa.string()),
        ("feed_path", pa.string()),
        ("is_snapshot", pa.bool_()),
        ("delivered_at", pa.timestamp("us", tz="UTC")),
        ("is_applied", pa.bool_()),
    ]
)
ERASED = pa.schema([("listing_digest", pa.string())])
APPLIED_FROM = pa.schema([("artifacts", pa.string()), ("content_digest", pa.string())])
#: Tables of one application that the next one in the same transaction makes again.
STAGED = ("incoming_listings", "incoming_products", "listing_change", "product_change")
#: What a table of the catalogue is compared by: its key, and what makes a change of it.
COMPARED = {
    "listings": ("source, listing_id", "row_digest"),
    "products": ("product_id", "product_digest, text_hash, quality, issues"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a batch changed: `change -> rows` for listings and for products (added, changed, relisted, delisted).

    `made_anew_from` counts the deliveries that the source was made anew from, where the batch did not come in order.
    """

    listings: Mapping[str, int] = field(default_factory=dict)
    products: Mapping[str, int] = field(default_factory=dict)
    made_anew_from: int = 0


def apply_batch(
    catalogue: Catalogue, archive: BatchArchive, batch: Batch, artifacts: BatchArtifacts, *, run_id: str
) -> Applied:
    """Apply one batch: all of it or nothing, and nothing at all the second time.

    Whenever it comes, the source is afterwards what it would be had all its deliveries come in order; see
    `plan_timeline`. Batches of one source wait for each other; those of different sources do not. A batch that was
    rolled back before it could be applied changes nothing.

    Args:
        catalogue: The current catalogue.
        archive: The tables of every batch.
        batch: Which batch it is.
        artifacts: The tables that were made of it.
        run_id: The run that applies it.
    """
    listings, _ = _measured(archive, artifacts.raw_listings)
    products, accepted = _measured(archive, artifacts.cleaned_products)
    content = "-".join(("snapshot" if batch.is_snapshot else "delta", listings, products))
    with catalogue.transaction() as transaction:
        transaction.lock(f"source {batch.source}")
        transaction.execute(sql("hold_batch"), batch_key=batch.batch_key)
        timeline = timeline_of(transaction, batch)
        mine = [entry for entry in timeline if entry.batch_key == batch.batch_key]
        if not mine:
            return Applied()
        before = transaction.query(sql("applied_from"), APPLIED_FROM, batch_key=batch.batch_key).to_pylist()
        is_other = any(entry.is_applied for entry in mine) and before[0]["content_digest"] != content
        rejected = Counter(archive.read(artifacts.rejected_products).column("reason").to_pylist())
        transaction.execute(
            sql("close_batch"),
            batch_key=batch.batch_key,
            run_id=run_id,
            artifacts=replace(artifacts, is_snapshot=batch.is_snapshot).to_json(),
            content_digest=content,
            products_accepted=accepted,
            products_rejected=rejected.total(),
            reasons=json.dumps(rejected, sort_keys=True),
        )
        transaction.execute(sql("close_deliveries"), batch_key=batch.batch_key, run_id=run_id)
        return _carry_out(transaction, archive, batch.source, plan_timeline(timeline, anew=is_other))


def roll_back(catalogue: Catalogue, archive: BatchArchive, batch: Batch) -> Applied:
    """Take a batch out: the source is made anew from its other deliveries, as if this one had never come.

    It stays out until it is accepted, or delivered again.

    Args:
        catalogue: The current catalogue.
        archive: The tables of every batch.
        batch: Which batch it is.
    """
    with catalogue.transaction() as transaction:
        transaction.lock(f"source {batch.source}")
        was_applied = any(
            entry.batch_key == batch.batch_key and entry.is_applied for entry in timeline_of(transaction, batch)
        )
        transaction.execute(sql("roll_back_batch"), batch_key=batch.batch_key)
        transaction.execute(sql("roll_back_deliveries"), batch_key=batch.batch_key)
        if not was_applied:
            return Applied()
        plan = plan_timeline(timeline_of(transaction, batch), anew=True)
        return _carry_out(transaction, archive, batch.source, plan)


def timeline_of(transaction: Transaction, batch: Batch) -> list[Entry]:
    """Return the deliveries that the batch's source is made of, those of the batch that wait to be among them.

    The batch is taken for what it was read as, every other one for what it was applied as.
    """
    rows = transaction.query(
        sql("timeline"), TIMELINE, source=batch.source, batch_key=batch.batch_key, is_snapshot=batch.is_snapshot
    )
    return [Entry(**row) for row in rows.to_pylist()]


def _carry_out(transaction: Transaction, archive: BatchArchive, source: str, plan: Plan) -> Applied:
    if plan.anew:
        return _make_anew(transaction, archive, source, plan.entries)
    listings: Counter[str] = Counter()
    products: Counter[str] = Counter()
    for entry in plan.entries:
        _apply(transaction, archive, source, entry)
        listings.update(_count(transaction, "listing_change"))
        products.update(_count(transaction, "product_change"))
    return Applied(listings=listings, products=products)


def _make_anew(transaction: Transaction, archive: BatchArchive, source: str, entries: Sequence[Entry]) -> Applied:
    """Empty the source, apply its deliveries in order, and compare with what it was."""
    for table, (key, content) in COMPARED.items():
        transaction.execute(sql("remember_state").format(table=table, key=key, content=content), source=source)
    for statement in ("empty_product_history", "empty_products", "empty_listing_history", "empty_listings"):
        transaction.execute(sql(statement), source=source)
    for entry in entries:
        _apply(transaction, archive, source, entry)
    changes = {
        table: _counted(
            transaction.query(
                sql("compare_state").format(table=table, key=key, content=content), CHANGES, source=source
            )
        )
        for table, (key, content) in COMPARED.items()
    }
    return Applied(**changes, made_anew_from=len(entries))


def _apply(transaction: Transaction, archive: BatchArchive, source: str, entry: Entry) -> None:
    at = {"delivered_at": entry.delivered_at, "batch_key": entry.batch_key}
    artifacts = _artifacts_of(transaction, archive, entry.batch_key)
    for table in STAGED:
        transaction.execute(sql("forget_staged").format(table=table))
    # What was erased while its batch was on its way is in the batch's tables, and comes in no more.
    erased = set(transaction.query(sql("erased"), ERASED, source=source).column("listing_digest").to_pylist())
    listings, products = (
        _without(erased, archive.read(name)) for name in (artifacts.raw_listings, artifacts.cleaned_products)
    )
    transaction.stage("incoming_listings", listings, schema=RAW_LISTINGS.arrow)
    transaction.stage("incoming_products", products, schema=CLEANED_PRODUCTS.arrow)

    transaction.execute(
        sql("find_listing_changes"),
        is_snapshot=entry.is_snapshot,
        source=source,
        feed_path=entry.feed_path,
    )
    transaction.execute(
        sql("upsert_listings").format(**upsert_columns(RAW_LISTINGS, "i")), feed_path=entry.feed_path, **at
    )
    transaction.execute(sql("confirm_listings"), delivered_at=entry.delivered_at, feed_path=entry.feed_path)
    transaction.execute(sql("delist_listings"), **at)
    transaction.execute(sql("close_listing_history"), delivered_at=entry.delivered_at)
    transaction.execute(sql("open_listing_history"), **at)

    transaction.execute(sql("find_product_changes"), source=source)
    transaction.execute(sql("upsert_products").format(**upsert_columns(CLEANED_PRODUCTS, "p")), **at)
    transaction.execute(sql("delist_products"), delivered_at=entry.delivered_at)
    transaction.execute(sql("close_product_history"), delivered_at=entry.delivered_at)
    transaction.execute(sql("open_product_history"), **at)


def _measured(archive: BatchArchive, name: str) -> tuple[str, int]:
    """Return the digest of a table and how many rows it has; it is read once, and not held."""
    table = archive.read(name)
    return table_digest(table), table.num_rows


def _without(erased: Collection[str], table: pa.Table) -> pa.Table:
    """Return the rows of a batch's table whose listings were not erased."""
    if not erased:
        return table
    is_kept = [listing_digest(listing_id) not in erased for listing_id in table["listing_id"].to_pylist()]
    return table.filter(pa.array(is_kept, pa.bool_()))


def _artifacts_of(transaction: Transaction, archive: BatchArchive, batch_key: str) -> BatchArtifacts:
    """Return the tables that the batch is applied from."""
    (row,) = transaction.query(sql("applied_from"), APPLIED_FROM, batch_key=batch_key).to_pylist()
    # A catalogue from before these names were written down was made from the newest.
    return BatchArtifacts.from_json(row["artifacts"]) if row["artifacts"] else archive.newest(batch_key)


def _count(transaction: Transaction, table: str) -> dict[str, int]:
    return _counted(transaction.query(sql("count_changes").format(table=table), CHANGES))


def _counted(changes: pa.Table) -> dict[str, int]:
    return {row["change"]: row["rows"] for row in changes.to_pylist()}
