"""The tables of the summaries stage: golden records, and the sentences written from them.

Belongs here: their columns. Not here: the rules that choose values or words.
"""

import pyarrow as pa

from assets.contract import Column, TableContract

TEXT = pa.string()

GOLDEN_RECORDS = TableContract(
    stage="summaries",
    name="golden_records",
    description="One row per cluster: its best value for each field, each with the listing it came from.",
    key=("cluster_id",),
    columns=(
        Column(name="cluster_id", type=TEXT, nullable=False, description="The cluster."),
        Column(name="title", type=TEXT, nullable=False, description="Best title."),
        Column(name="brand", type=TEXT, description="Brand most offers agree on."),
        Column(name="gtin", type=TEXT, pattern=r"^[0-9]{14}$", description="GTIN-14 most offers agree on."),
        Column(name="mpn", type=TEXT, description="Manufacturer part number most offers agree on."),
        Column(name="category", type=TEXT, description="Most frequent category."),
        Column(name="description", type=TEXT, description="Best description."),
        Column(name="image_url", type=TEXT, description="A picture of it."),
        Column(name="colour", type=TEXT, description="Colour most offers agree on."),
        Column(name="measures", type=TEXT, json=True, nullable=False, description="JSON object of quantities most offers agree on."),
        Column(name="offers", type=pa.int32(), nullable=False, minimum=1, description="Offers in the cluster."),
        Column(name="sellers", type=pa.int32(), nullable=False, minimum=1, description="Distinct sellers."),
        Column(name="currency", type=TEXT, pattern=r"^[A-Z]{3}$", description="Currency of the price columns: the one most offers use."),
        Column(name="price_min", type=pa.decimal128(18, 4), minimum=0, description="Lowest price in `currency`."),
        Column(name="price_median", type=pa.decimal128(18, 4), minimum=0, description="Median price in `currency`."),
        Column(name="price_max", type=pa.decimal128(18, 4), minimum=0, description="Highest price in `currency`."),
        Column(name="disagreements", type=TEXT, json=True, nullable=False, description="JSON object: field -> the values members state, where more than one."),
        Column(name="provenance", type=TEXT, json=True, nullable=False, description="JSON object: field -> product_id its value came from."),
        Column(name="record_digest", type=TEXT, nullable=False, pattern=r"^[0-9a-f]{32}$", description="xxh3-128 of the record; a summary is written again only when it changes."),
    ),
)  # fmt: skip

CLUSTER_SUMMARIES = TableContract(
    stage="summaries",
    name="cluster_summaries",
    description="One readable summary per cluster, written from its golden record alone.",
    key=("cluster_id",),
    columns=(
        Column(name="cluster_id", type=TEXT, nullable=False, description="The cluster."),
        Column(name="headline", type=TEXT, nullable=False, description="What it is, in one line."),
        Column(name="summary", type=TEXT, nullable=False, description="What it is, how many shops, the price range, where they disagree."),
        Column(name="author", type=TEXT, nullable=False, description="`template`, or the model that worded it."),
        Column(name="fallback_reason", type=TEXT, description="Why a model's text was not used, where one was asked."),
        Column(name="record_digest", type=TEXT, nullable=False, pattern=r"^[0-9a-f]{32}$", description="Digest of the golden record it was written from."),
    ),
)  # fmt: skip
