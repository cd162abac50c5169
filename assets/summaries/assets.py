"""The assets of the summaries stage: a golden record of every cluster, and a summary written from it.

Belongs here: reading, calling the pure code, storing, reporting. Not here: rules for values or words.
"""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from assets.catalogue import Catalogue, select, sql, upsert_columns
from assets.clusters.schema import CLUSTER_EVENTS, PRODUCT_CLUSTERS
from assets.language_model import LanguageModel
from assets.presentation import OWNERS, asset_key, column_lineage, markdown_table, preview, table_metadata
from assets.products.schema import CURRENT_PRODUCTS
from assets.summaries.golden_record import golden_records as choose_records
from assets.summaries.schema import CLUSTER_SUMMARIES, GOLDEN_RECORDS
from assets.summaries.writing import summarise
from assets.versions import code_version, table_digest

CODE_VERSION = code_version("assets.summaries")


@dg.asset(
    key=asset_key(GOLDEN_RECORDS),
    group_name=GOLDEN_RECORDS.stage,
    code_version=CODE_VERSION,
    owners=OWNERS,
    kinds={"python", "parquet", "postgres"},
    ins={
        "clusters": dg.AssetIn(key=asset_key(PRODUCT_CLUSTERS)),
        "products": dg.AssetIn(key=asset_key(CURRENT_PRODUCTS)),
    },
    deps=[asset_key(CLUSTER_EVENTS)],
    description="One golden record per cluster: the best value of each field by stated rules, each with its listing.",
    metadata=table_metadata(
        GOLDEN_RECORDS,
        column_lineage(
            GOLDEN_RECORDS,
            CURRENT_PRODUCTS,
            {
                "offers": ("product_id",),
                "sellers": ("seller",),
                "price_min": ("price",),
                "price_median": ("price",),
                "price_max": ("price",),
                "disagreements": ("brand", "gtin", "colour", "pack_size", "condition", "measures"),
                "provenance": ("product_id",),
            },
        ),
    ),
)
def golden_records(
    clusters: pa.Table, products: pa.Table, catalogue: dg.ResourceParam[Catalogue]
) -> dg.MaterializeResult[pa.Table]:
    """Choose the best values of every cluster and bring the catalogue's golden records up to date."""
    records = choose_records(products, clusters)
    with catalogue.transaction() as transaction:
        transaction.stage("incoming_records", records, schema=GOLDEN_RECORDS.arrow)
        written = transaction.execute(
            sql("assets.summaries", "upsert_records").format(**upsert_columns(GOLDEN_RECORDS, "i"))
        )
        dropped = transaction.execute(sql("assets.summaries", "drop_records"))
    compared = records.filter(pc.greater(records.column("sellers"), 1))
    return dg.MaterializeResult(
        value=records,
        data_version=dg.DataVersion(table_digest(records)),
        metadata={
            "records written": written,
            "records dropped": dropped,
            "offered by several sellers": compared.num_rows,
            "most offered": preview(
                compared.sort_by([("offers", "descending")]),
                ["title", "brand", "offers", "sellers", "currency", "price_min", "price_max"],
            ),
        },
    )


@dg.asset(
    key=asset_key(CLUSTER_SUMMARIES),
    group_name=CLUSTER_SUMMARIES.stage,
    code_version=CODE_VERSION,
    owners=OWNERS,
    kinds={"python", "parquet", "postgres"},
    ins={"records": dg.AssetIn(key=asset_key(GOLDEN_RECORDS))},
    description=(
        "A readable summary of every cluster, written from its golden record alone: by the template, or worded by a "
        "language model whose every number is checked against the record."
    ),
    metadata=table_metadata(
        CLUSTER_SUMMARIES,
        column_lineage(
            CLUSTER_SUMMARIES,
            GOLDEN_RECORDS,
            {
                "headline": ("title", "brand"),
                "summary": ("title", "offers", "sellers", "price_min", "price_max", "disagreements"),
            },
        ),
    ),
)
def cluster_summaries(
    records: pa.Table, catalogue: dg.ResourceParam[Catalogue], writer: dg.ResourceParam[LanguageModel | None]
) -> dg.MaterializeResult[pa.Table]:
    """Write what changed, keep the rest, and bring the catalogue's summaries up to date."""
    previous = catalogue.read(select(CLUSTER_SUMMARIES, "catalog.cluster_summaries"), CLUSTER_SUMMARIES.arrow)
    summaries = summarise(records, writer, previous)
    with catalogue.transaction() as transaction:
        transaction.stage("incoming_summaries", summaries.table, schema=CLUSTER_SUMMARIES.arrow)
        written = transaction.execute(
            sql("assets.summaries", "upsert_summaries").format(**upsert_columns(CLUSTER_SUMMARIES, "i"))
        )
        transaction.execute(sql("assets.summaries", "drop_summaries"))
    longest = summaries.table.take(
        pc.sort_indices(pc.utf8_length(summaries.table.column("summary")), sort_keys=[("", "descending")])
    )
    return dg.MaterializeResult(
        value=summaries.table,
        data_version=dg.DataVersion(table_digest(summaries.table)),
        metadata={
            "summaries written": written,
            "kept": summaries.kept,
            "asked of a model": summaries.asked,
            "worded by a model": summaries.worded,
            "fallbacks": markdown_table(("reason", "summaries"), sorted(summaries.fallbacks.items())),
            "examples": preview(longest, ["headline", "summary", "author"], rows=5),
        },
    )


ASSETS = (golden_records, cluster_summaries)
