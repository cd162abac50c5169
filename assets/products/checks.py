"""The checks of the products stage; those that protect the next stage are blocking.

Belongs here: laws of this stage as Dagster checks. Not here: the derivation of expectations from a contract.
"""

from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from assets.batches import BATCHES, BatchBook
from assets.catalogue import Catalogue, sql
from assets.listings.schema import RAW_LISTINGS
from assets.presentation import asset_key, markdown_table
from assets.products.guarding import SnapshotRules, guard
from assets.products.schema import CATALOGUE, CLEANED_PRODUCTS, CURRENT_PRODUCTS, REJECTED_PRODUCTS
from assets.quality_gate import contract_check

COUNTS = pa.schema([("law", pa.string()), ("violations", pa.int64())])


@dg.asset_check(
    asset=asset_key(CLEANED_PRODUCTS),
    name="nothing_is_lost",
    blocking=True,
    partitions_def=BATCHES,
    additional_ins={
        "listings": dg.AssetIn(key=asset_key(RAW_LISTINGS)),
        "rejected": dg.AssetIn(key=asset_key(REJECTED_PRODUCTS)),
    },
    description="Law 1: every accepted listing became a product or was rejected with a reason, and none twice.",
)
def nothing_is_lost(products: pa.Table, listings: pa.Table, rejected: pa.Table) -> dg.AssetCheckResult:
    """Compare the listing ids that came in with those that went out."""
    arrived = listings.column("listing_id").to_pylist()
    left = products.column("listing_id").to_pylist() + rejected.column("listing_id").to_pylist()
    return dg.AssetCheckResult(
        passed=sorted(arrived) == sorted(left),
        description=f"{len(arrived)} listings = {products.num_rows} products + {rejected.num_rows} rejected.",
        metadata={"listings": len(arrived), "products": products.num_rows, "rejected": rejected.num_rows},
    )


@dg.asset_check(
    asset=asset_key(CLEANED_PRODUCTS),
    name="few_listings_delisted",
    blocking=True,
    partitions_def=BATCHES,
    additional_ins={"listings": dg.AssetIn(key=asset_key(RAW_LISTINGS))},
    description="A snapshot that would delist more of its feed than is allowed is held: it is not applied until "
    "somebody accepts it (offerline accept BATCH), and a later snapshot takes its place.",
)
def few_listings_delisted(
    context: dg.AssetCheckExecutionContext,
    products: pa.Table,
    listings: pa.Table,
    catalogue: dg.ResourceParam[Catalogue],
    batch_book: dg.ResourceParam[BatchBook],
    snapshot_rules: dg.ResourceParam[SnapshotRules],
) -> dg.AssetCheckResult:
    """Count what would go before anything goes, and hold the batch where it is too much."""
    del products
    batch = batch_book.batch(context.partition_key)
    verdict = guard(catalogue, batch_book, batch, listings, snapshot_rules)
    delisting = verdict.delisting
    return dg.AssetCheckResult(
        passed=not verdict.is_held,
        description=verdict.reason,
        metadata={"listed": delisting.listed, "missing": delisting.missing, "share": delisting.share},
    )


def _money_is_complete() -> list[Any]:
    import great_expectations.expectations as gxe

    # A price without its currency cannot be compared with anything.
    return [
        gxe.ExpectColumnValuesToNotBeNull(column="currency", condition_parser="pandas", row_condition="price.notnull()")
    ]


@dg.asset_check(
    asset=asset_key(CLEANED_PRODUCTS),
    name="prices_are_plausible",
    partitions_def=BATCHES,
    description="Warns when a price is over a hundred times its currency's median: often a lost decimal mark.",
)
def prices_are_plausible(products: pa.Table) -> dg.AssetCheckResult:
    """Compare every price with the median of its currency."""
    priced = products.select(["product_id", "price", "currency"]).filter(pc.is_valid(products.column("price")))
    priced = priced.set_column(1, "price", priced.column("price").cast(pa.float64()))
    medians = priced.group_by("currency").aggregate([("price", "approximate_median")])
    joined = priced.join(medians, "currency")
    odd = joined.filter(
        pc.greater(joined.column("price"), pc.multiply(joined.column("price_approximate_median"), 100.0))
    )
    return dg.AssetCheckResult(
        passed=odd.num_rows == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{odd.num_rows} of {priced.num_rows} prices are over a hundred times the median.",
        metadata={
            "odd prices": markdown_table(
                ("product", "price", "currency"),
                [(row["product_id"], row["price"], row["currency"]) for row in odd.slice(0, 20).to_pylist()],
            )
        },
    )


@dg.asset_check(
    asset=asset_key(CATALOGUE),
    name="catalogue_agrees",
    blocking=True,
    partitions_def=BATCHES,
    description="In PostgreSQL, of the batch's source: current products have a current listing and one open history.",
)
def catalogue_agrees(
    context: dg.AssetCheckExecutionContext,
    catalogue: dg.ResourceParam[Catalogue],
    batch_book: dg.ResourceParam[BatchBook],
) -> dg.AssetCheckResult:
    """Count the rows of the batch's source that break a law of the catalogue."""
    source = batch_book.batch(context.partition_key).source
    counted = catalogue.read(sql("assets.products", "catalogue_laws"), COUNTS, source=source)
    violations = {row["law"]: row["violations"] for row in counted.to_pylist()}
    return dg.AssetCheckResult(
        passed=not any(violations.values()),
        description="; ".join(f"{law}: {rows}" for law, rows in violations.items() if rows) or "All laws hold.",
        metadata={**violations},
    )


CHECKS = (
    contract_check(CLEANED_PRODUCTS, partitions_def=BATCHES, more=_money_is_complete),
    contract_check(REJECTED_PRODUCTS, partitions_def=BATCHES),
    contract_check(CURRENT_PRODUCTS),
    nothing_is_lost,
    few_listings_delisted,
    prices_are_plausible,
    catalogue_agrees,
)
