"""Bringing a cleaned batch into the current catalogue, in one transaction.

Belongs here: the order of the statements in `sql/` and what they are told. Not here: cleaning, connections.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from assets.batches import Batch
from assets.catalogue import Catalogue, Transaction, upsert_columns
from assets.catalogue import sql as read_sql
from assets.listings.schema import RAW_LISTINGS
from assets.products.schema import CLEANED_PRODUCTS

sql = partial(read_sql, "assets.products")

CHANGES = pa.schema([("change", pa.string()), ("rows", pa.int64())])
BATCH_KEYS = pa.schema([("batch_key", pa.string())])


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a batch changed: `change -> rows` for listings and for products (added, changed, relisted, delisted).

    `superseded_by` names the newer snapshot of the same feed that made this one void, where there is one.
    """

    listings: Mapping[str, int] = field(default_factory=dict)
    products: Mapping[str, int] = field(default_factory=dict)
    superseded_by: str | None = None


def apply_batch(
    catalogue: Catalogue,
    batch: Batch,
    listings: pa.Table,
    products: pa.Table,
    *,
    rejected: Mapping[str, int],
    run_id: str,
) -> Applied:
    """Apply one batch: all of it or nothing, and nothing at all the second time.

    Args:
        catalogue: The current catalogue.
        batch: Which batch it is.
        listings: The accepted rows, following `RAW_LISTINGS`.
        products: What cleaning made of them, following `CLEANED_PRODUCTS`.
        rejected: How many listings cleaning could not use, by reason.
        run_id: The run that applies it.

    Batches of one source wait for each other; those of different sources do not.
    """
    with catalogue.transaction() as transaction:
        transaction.lock(f"source {batch.source}")
        newer = _newer_snapshot(transaction, batch)
        applied = Applied(superseded_by=newer) if newer else _apply_rows(transaction, batch, listings, products)
        _close(transaction, batch, newer, products.num_rows, rejected, run_id)
    return applied


def _newer_snapshot(transaction: Transaction, batch: Batch) -> str | None:
    """Return the newer snapshot that already says all there is to say of this feed."""
    if not batch.is_snapshot:
        return None
    newer = transaction.query(
        sql("newer_snapshot"),
        BATCH_KEYS,
        source=batch.source,
        feed_path=batch.feed_path,
        delivered_at=batch.delivered_at,
        batch_key=batch.batch_key,
    )
    return str(newer.column("batch_key")[0]) if newer.num_rows else None


def _apply_rows(transaction: Transaction, batch: Batch, listings: pa.Table, products: pa.Table) -> Applied:
    at = {"delivered_at": batch.delivered_at, "batch_key": batch.batch_key}
    feed = {"source": batch.source, "feed_path": batch.feed_path}
    transaction.stage("incoming_listings", listings, schema=RAW_LISTINGS.arrow)
    transaction.stage("incoming_products", products, schema=CLEANED_PRODUCTS.arrow)

    transaction.execute(
        sql("find_listing_changes"), is_snapshot=batch.is_snapshot, delivered_at=batch.delivered_at, **feed
    )
    transaction.execute(
        sql("upsert_listings").format(**upsert_columns(RAW_LISTINGS, "i")),
        feed_path=batch.feed_path,
        **at,
    )
    transaction.execute(sql("confirm_listings"), delivered_at=batch.delivered_at, feed_path=batch.feed_path)
    transaction.execute(sql("delist_listings"), **at)
    transaction.execute(sql("close_listing_history"), delivered_at=batch.delivered_at)
    transaction.execute(sql("open_listing_history"), **at)

    transaction.execute(sql("find_product_changes"), source=batch.source)
    transaction.execute(
        sql("upsert_products").format(**upsert_columns(CLEANED_PRODUCTS, "p")),
        **at,
    )
    transaction.execute(sql("delist_products"), delivered_at=batch.delivered_at)
    transaction.execute(sql("close_product_history"), delivered_at=batch.delivered_at)
    transaction.execute(sql("open_product_history"), **at)
    return Applied(listings=_count(transaction, "listing_change"), products=_count(transaction, "product_change"))


def _count(transaction: Transaction, table: str) -> dict[str, int]:
    counted = transaction.query(sql("count_changes").format(table=table), CHANGES)
    return {row["change"]: row["rows"] for row in counted.to_pylist()}


def _close(
    transaction: Transaction, batch: Batch, newer: str | None, accepted: int, rejected: Mapping[str, int], run_id: str
) -> None:
    """Write down that the batch was dealt with, in the same transaction that dealt with it."""
    outcome = {"state": "superseded" if newer else "applied", "run_id": run_id, "batch_key": batch.batch_key}
    transaction.execute(
        sql("close_batch"),
        products_accepted=accepted,
        products_rejected=sum(rejected.values()),
        reasons=json.dumps(rejected, sort_keys=True),
        **outcome,
    )
    reason = f"a newer snapshot was applied: {newer}" if newer else None
    transaction.execute(sql("close_deliveries"), reason=reason, **outcome)
