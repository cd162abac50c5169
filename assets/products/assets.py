"""The assets of the products stage: a batch's listings are cleaned, then applied to the current catalogue.

Belongs here: reading, calling the pure code, reporting. Not here: cleaning rules, SQL.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from assets.batches import BATCHES, BatchArchive, BatchBook
from assets.catalogue import Catalogue
from assets.listings.schema import RAW_LISTINGS
from assets.presentation import OWNERS, asset_key, column_lineage, markdown_table, plot, preview, table_metadata
from assets.products.agreement import read_current
from assets.products.applying import Applied, apply_batch
from assets.products.cleaning import Cleaned, CleaningRules, clean_again, clean_listings, lexicon_of
from assets.products.plots import draw_fill_rates, draw_quality
from assets.products.schema import CATALOGUE, CLEANED_PRODUCTS, CURRENT_PRODUCTS, REJECTED_PRODUCTS
from assets.versions import code_version, table_digest

CODE_VERSION = code_version("assets.products")
#: By what the metadata of the catalogue says how many products a batch changed.
PRODUCTS_CHANGED = "products changed"
#: What each cleaned column is made from, where it is not its namesake alone.
LINEAGE = {
    "product_id": ("source", "listing_id"),
    "brand": ("brand", "title"),
    "brand_origin": ("brand", "title"),
    "model_codes": ("title", "mpn"),
    "currency": ("price", "currency"),
    "condition": ("condition", "title"),
    "colour": ("title", "attributes"),
    "pack_size": ("title",),
    "measures": ("title", "attributes"),
    "language": ("title", "description"),
    "issues": ("title", "gtin", "price", "url"),
    "quality": ("title", "description", "brand", "gtin", "price"),
    "quality_parts": ("title", "description", "brand", "gtin", "price"),
    "embedding_text": ("title", "brand"),
    "text_hash": ("title", "brand"),
    "product_digest": tuple(name for name in RAW_LISTINGS.names if name not in ("row_number", "row_digest")),
}


@dg.multi_asset(
    name="products__clean_batch",
    partitions_def=BATCHES,
    code_version=CODE_VERSION,
    ins={"listings": dg.AssetIn(key=asset_key(RAW_LISTINGS))},
    outs={
        "cleaned_products": dg.AssetOut(
            key=asset_key(CLEANED_PRODUCTS),
            group_name=CLEANED_PRODUCTS.stage,
            description="The batch's listings, cleaned: comparable text, money, identifiers, quantities, quality.",
            owners=OWNERS,
            kinds={"python", "parquet", "s3"},
            metadata=table_metadata(CLEANED_PRODUCTS, column_lineage(CLEANED_PRODUCTS, RAW_LISTINGS, LINEAGE)),
        ),
        "rejected_products": dg.AssetOut(
            key=asset_key(REJECTED_PRODUCTS),
            group_name=REJECTED_PRODUCTS.stage,
            description="Listings that could not be made into a product, kept whole, each with its reason.",
            owners=OWNERS,
            kinds={"python", "parquet", "s3"},
            metadata=table_metadata(REJECTED_PRODUCTS),
        ),
    },
)
def clean_batch(
    context: dg.AssetExecutionContext,
    listings: pa.Table,
    batch_book: dg.ResourceParam[BatchBook],
    batch_archive: dg.ResourceParam[BatchArchive],
) -> Iterator[dg.Output[pa.Table]]:
    """Clean one batch, whatever came before it; of one whose rejected rows are replayed, only what is new or meant."""
    batch = batch_book.batch(context.partition_key)
    brands = lexicon_of(listings)
    if batch.replayed is not None and batch.artifacts is not None:
        before = Cleaned(
            batch_archive.read(batch.artifacts.cleaned_products), batch_archive.read(batch.artifacts.rejected_products)
        )
        earlier = batch_archive.read(batch.artifacts.raw_listings)
        cleaned = clean_again(listings, earlier, before, batch.replayed, rules=CleaningRules(), brands=brands)
    else:
        cleaned = clean_listings(listings, rules=CleaningRules(), brands=brands)
    yield dg.Output(
        cleaned.products,
        "cleaned_products",
        metadata={
            "issues": markdown_table(("issue", "products"), cleaned.issues.most_common()),
            "filled columns": plot(lambda axes: draw_fill_rates(axes, cleaned.products)),
            "quality": plot(lambda axes: draw_quality(axes, cleaned.products)),
            "mean quality": float(pc.mean(cleaned.products.column("quality")).as_py() or 0.0),
            "preview": preview(cleaned.products, ["product_id", "title", "brand", "gtin", "model_codes", "price"]),
        },
        data_version=dg.DataVersion(table_digest(cleaned.products)),
    )
    reasons = Counter(cleaned.rejected.column("reason").to_pylist())
    yield dg.Output(
        cleaned.rejected,
        "rejected_products",
        metadata={"reasons": markdown_table(("reason", "listings"), reasons.most_common())},
        data_version=dg.DataVersion(table_digest(cleaned.rejected)),
    )


@dg.asset(
    key=[CATALOGUE.stage, CATALOGUE.name],
    group_name=CATALOGUE.stage,
    partitions_def=BATCHES,
    code_version=CODE_VERSION,
    owners=OWNERS,
    kinds={"postgres", "sql"},
    deps=[asset_key(table) for table in (RAW_LISTINGS, CLEANED_PRODUCTS, REJECTED_PRODUCTS)],
    description=(
        "The current catalogue in PostgreSQL after this batch: listings and products added, changed and delisted in "
        "one transaction, with the history of every change. Only a batch that passed its checks comes here. One that "
        "comes late takes its place among the others of its source, which is then made anew from all of them."
    ),
    metadata=table_metadata(CATALOGUE, column_lineage(CATALOGUE, CLEANED_PRODUCTS)),
)
def catalogue_products(
    context: dg.AssetExecutionContext,
    catalogue: dg.ResourceParam[Catalogue],
    batch_book: dg.ResourceParam[BatchBook],
    batch_archive: dg.ResourceParam[BatchArchive],
) -> dg.MaterializeResult[None]:
    """Apply the batch and say what it changed."""
    batch = batch_book.batch(context.partition_key)
    artifacts = batch_archive.newest(batch.batch_key)
    applied = apply_batch(catalogue, batch_archive, batch, artifacts, run_id=context.run.run_id)
    return dg.MaterializeResult(metadata=changes_metadata(applied))


def changes_metadata(applied: Applied) -> dict[str, Any]:
    """Say what was changed, for whoever looks at the catalogue in Dagster."""
    changes = sorted(applied.listings.keys() | applied.products.keys())
    metadata: dict[str, Any] = {
        "changes": markdown_table(
            ("change", "listings", "products"),
            [(change, applied.listings.get(change, 0), applied.products.get(change, 0)) for change in changes],
        ),
        PRODUCTS_CHANGED: sum(applied.products.values()),
    }
    if applied.made_anew_from:
        metadata["made anew from deliveries"] = applied.made_anew_from
    return metadata


@dg.asset(
    key=asset_key(CURRENT_PRODUCTS),
    group_name=CURRENT_PRODUCTS.stage,
    code_version=CODE_VERSION,
    owners=OWNERS,
    kinds={"postgres", "parquet", "s3"},
    deps=[asset_key(CATALOGUE)],
    description=(
        "Every product that is offered now, taken from the catalogue at one moment. The stages of the whole catalogue "
        "work on this table, so that a batch that comes in meanwhile waits for the next run."
    ),
    metadata=table_metadata(CURRENT_PRODUCTS, column_lineage(CURRENT_PRODUCTS, CATALOGUE)),
)
def current_products(catalogue: dg.ResourceParam[Catalogue]) -> dg.MaterializeResult[pa.Table]:
    """Take the current catalogue out of PostgreSQL."""
    products = read_current(catalogue)
    offers = products.group_by("source").aggregate([("product_id", "count")]).to_pylist()
    return dg.MaterializeResult(
        value=products,
        data_version=dg.DataVersion(table_digest(products)),
        metadata={
            "offers by source": markdown_table(
                ("source", "offers"), sorted((row["source"], row["product_id_count"]) for row in offers)
            ),
            "filled columns": plot(lambda axes: draw_fill_rates(axes, products)),
        },
    )


ASSETS = (clean_batch, catalogue_products, current_products)
