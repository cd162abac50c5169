"""The tables of the listings stage: what was accepted from a feed, and what was not.

Belongs here: their columns. Not here: how rows get there.
"""

import pyarrow as pa

from assets.contract import Column, TableContract

TEXT = pa.string()

#: Fields a contract may map a feed's columns to; everything else a feed carries goes to `attributes`.
CANONICAL_FIELDS = (
    "listing_id", "title", "seller", "description", "brand", "gtin", "mpn", "category",
    "price", "currency", "url", "image_url", "condition", "availability",
)  # fmt: skip

RAW_LISTINGS = TableContract(
    stage="listings",
    name="raw_listings",
    description="One offer per row, as published: text is untouched but for its encoding.",
    key=("source", "listing_id"),
    columns=(
        Column(name="source", type=TEXT, nullable=False, description="Shop, marketplace or feed provider."),
        Column(name="listing_id", type=TEXT, nullable=False, description="The source's own id of the offer."),
        Column(name="seller", type=TEXT, nullable=False, description="Who offers the item; the source itself unless the feed says."),
        Column(name="title", type=TEXT, nullable=False, description="Offer title as published."),
        Column(name="description", type=TEXT, description="Offer text as published, markup included."),
        Column(name="brand", type=TEXT, description="Brand or manufacturer as published."),
        Column(name="gtin", type=TEXT, description="Global Trade Item Number as published, not yet validated."),
        Column(name="mpn", type=TEXT, description="Manufacturer part number as published."),
        Column(name="category", type=TEXT, description="The source's own category."),
        Column(name="price", type=TEXT, description="Price as published, in the source's own notation."),
        Column(name="currency", type=TEXT, description="Currency the row names, else the contract's default."),
        Column(name="url", type=TEXT, description="Link to the offer as published."),
        Column(name="image_url", type=TEXT, description="Link to its picture as published."),
        Column(name="condition", type=TEXT, description="Condition as published."),
        Column(name="availability", type=TEXT, description="Availability as published."),
        Column(name="attributes", type=TEXT, json=True, nullable=False, description="JSON object of the feed's remaining fields."),
        Column(name="row_number", type=pa.int64(), nullable=False, minimum=1, description="1-based position of the row in the feed."),
        Column(name="row_digest", type=TEXT, nullable=False, pattern=r"^[0-9a-f]{32}$", description="xxh3-128 of the row's content, its position left out."),
    ),
)  # fmt: skip

REJECTED_LISTINGS = TableContract(
    stage="listings",
    name="rejected_listings",
    description="Rows that broke the contract, kept whole, each with its reason, so that they can be replayed.",
    key=("source", "row_number"),
    columns=(
        Column(name="source", type=TEXT, nullable=False, description="Source of the feed."),
        Column(name="row_number", type=pa.int64(), nullable=False, minimum=1, description="1-based position of the row in the feed."),
        Column(name="reason", type=TEXT, nullable=False, pattern=r"^[a-z][a-z_]*$", description="Stable code of the reason, for counting and replaying."),
        Column(name="field", type=TEXT, description="Canonical field that broke the contract, where it was one."),
        Column(name="detail", type=TEXT, nullable=False, description="What was found and what was expected, for a person."),
        Column(name="raw", type=TEXT, nullable=False, description="The row whole: a JSON object of its fields, or its text where it could not be parsed."),
    ),
)  # fmt: skip
