"""The tables of the products stage: clean products, and listings that could not be made into one.

Belongs here: their columns and closed vocabularies. Not here: the rules that fill them.
"""

from dataclasses import replace

import pyarrow as pa

from assets.contract import Column, TableContract

TEXT = pa.string()
MOMENT = pa.timestamp("us", tz="UTC")
CONDITIONS = ("new", "refurbished", "used", "unknown")
AVAILABILITIES = ("in_stock", "out_of_stock", "preorder", "unknown")

CLEANED_PRODUCTS = TableContract(
    stage="products",
    name="cleaned_products",
    description="One listing per row, cleaned: comparable text, money, identifiers and attributes.",
    key=("product_id",),
    columns=(
        Column(name="product_id", type=TEXT, nullable=False, description="`source:listing_id`, the listing's identity in one value."),
        Column(name="source", type=TEXT, nullable=False, description="Shop, marketplace or feed provider."),
        Column(name="listing_id", type=TEXT, nullable=False, description="The source's own id of the offer."),
        Column(name="seller", type=TEXT, nullable=False, description="Who offers the item."),
        Column(name="title", type=TEXT, nullable=False, pattern=r"^\S(.*\S)?$", description="Title without markup, odd characters or surplus space; case preserved."),
        Column(name="description", type=TEXT, description="Description as plain text."),
        Column(name="brand", type=TEXT, description="Brand, from the feed or found in the title."),
        Column(name="brand_origin", type=TEXT, values=("feed", "title"), description="Where the brand was found."),
        Column(name="gtin", type=TEXT, pattern=r"^[0-9]{14}$", description="GTIN-14 (GS1), check digit verified; null where the feed's was wrong."),
        Column(name="mpn", type=TEXT, description="Manufacturer part number, from the feed."),
        Column(name="model_codes", type=pa.list_(TEXT), nullable=False, description="Model numbers found in title and MPN, separators removed, upper case."),
        Column(name="category", type=TEXT, description="The source's own category."),
        Column(name="price", type=pa.decimal128(18, 4), minimum=0, description="Price in `currency`."),
        Column(name="currency", type=TEXT, pattern=r"^[A-Z]{3}$", description="ISO 4217 code."),
        Column(name="url", type=TEXT, pattern=r"^https?://\S+$", description="Link to the offer; only http and https."),
        Column(name="image_url", type=TEXT, pattern=r"^https?://\S+$", description="Link to its picture; only http and https."),
        Column(name="condition", type=TEXT, nullable=False, values=CONDITIONS, description="Condition of the item."),
        Column(name="availability", type=TEXT, nullable=False, values=AVAILABILITIES, description="Whether it can be bought."),
        Column(name="colour", type=TEXT, description="Canonical colour found in the title or the feed."),
        Column(name="pack_size", type=pa.int32(), nullable=False, minimum=1, description="Items in the pack; 1 unless stated."),
        Column(name="measures", type=TEXT, json=True, nullable=False, description="JSON object of physical quantities in base units, e.g. `storage_gb`, `screen_in`, `volume_l`."),
        Column(name="attributes", type=TEXT, json=True, nullable=False, description="JSON object of the feed's remaining fields, cleaned."),
        Column(name="language", type=TEXT, pattern=r"^[a-z]{2}$", description="ISO 639-1 code of the text's language, where it is sure."),
        Column(name="issues", type=pa.list_(TEXT), nullable=False, description="Codes of what had to be dropped or guessed, e.g. `gtin_check_digit`."),
        Column(name="quality", type=pa.float64(), nullable=False, minimum=0, maximum=1, description="Weighted mean of the quality parts."),
        Column(name="quality_parts", type=TEXT, json=True, nullable=False, description="JSON object of the parts of `quality`, each between 0 and 1."),
        Column(name="embedding_text", type=TEXT, nullable=False, description="The text that is embedded."),
        Column(name="text_hash", type=TEXT, nullable=False, pattern=r"^[0-9a-f]{32}$", description="xxh3-128 of `embedding_text`."),
        Column(name="product_digest", type=TEXT, nullable=False, pattern=r"^[0-9a-f]{32}$", description="xxh3-128 of the product's content."),
    ),
)  # fmt: skip

CATALOGUE = replace(
    CLEANED_PRODUCTS,
    name="catalogue",
    description="Every product that is or was offered, as its newest batch has it, in PostgreSQL.",
    columns=(
        *CLEANED_PRODUCTS.columns,
        Column(name="batch_key", type=TEXT, nullable=False, description="The batch that brought this version."),
        Column(name="first_seen_at", type=MOMENT, nullable=False, description="Delivery that first listed it."),
        Column(name="updated_at", type=MOMENT, nullable=False, description="Delivery that last changed it."),
        Column(name="delisted_at", type=MOMENT, description="Delivery that no longer listed it; null while it is offered."),
    ),
)  # fmt: skip

CURRENT_PRODUCTS = replace(
    CLEANED_PRODUCTS,
    name="current_products",
    description="Every product that is offered now, as one immutable table: what all later stages of a run work on.",
)

REJECTED_PRODUCTS = TableContract(
    stage="products",
    name="rejected_products",
    description="Listings that could not be made into a product, kept whole, each with its reason.",
    key=("source", "listing_id"),
    columns=(
        Column(name="source", type=TEXT, nullable=False, description="Source of the listing."),
        Column(name="listing_id", type=TEXT, nullable=False, description="The source's own id of the offer."),
        Column(name="reason", type=TEXT, nullable=False, pattern=r"^[a-z][a-z_]*$", description="Stable code of the reason."),
        Column(name="field", type=TEXT, description="Field that could not be used."),
        Column(name="detail", type=TEXT, nullable=False, description="What was found and what was expected."),
        Column(name="raw", type=TEXT, json=True, nullable=False, description="JSON object of the listing, whole."),
    ),
)  # fmt: skip
