-- Clean products: the current ones, and what their offers cost when.

CREATE TABLE catalog.products (
    product_id     text PRIMARY KEY,
    source         text NOT NULL,
    listing_id     text NOT NULL,
    seller         text NOT NULL,
    title          text NOT NULL,
    description    text,
    brand          text,
    brand_origin   text CHECK (brand_origin IN ('feed', 'title')),
    gtin           text,
    mpn            text,
    model_codes    text[] NOT NULL,
    category       text,
    price          numeric(18, 4) CHECK (price >= 0),
    currency       text,
    url            text,
    image_url      text,
    condition      text NOT NULL CHECK (condition IN ('new', 'refurbished', 'used', 'unknown')),
    availability   text NOT NULL CHECK (availability IN ('in_stock', 'out_of_stock', 'preorder', 'unknown')),
    colour         text,
    pack_size      integer NOT NULL CHECK (pack_size >= 1),
    measures       jsonb NOT NULL,
    attributes     jsonb NOT NULL,
    language       text,
    issues         text[] NOT NULL,
    quality        double precision NOT NULL CHECK (quality BETWEEN 0 AND 1),
    quality_parts  jsonb NOT NULL,
    embedding_text text NOT NULL,
    text_hash      text NOT NULL,
    product_digest text NOT NULL,
    batch_key      text NOT NULL REFERENCES catalog.batches,
    first_seen_at  timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    delisted_at    timestamptz,
    UNIQUE (source, listing_id)
);
CREATE INDEX products_title_trigrams ON catalog.products USING gin (title gin_trgm_ops);
CREATE INDEX products_text_hash ON catalog.products (text_hash);
CREATE INDEX products_gtin ON catalog.products (gtin) WHERE gtin IS NOT NULL;
CREATE INDEX products_brand ON catalog.products (lower(brand));
CREATE INDEX products_batch ON catalog.products (batch_key);

COMMENT ON TABLE catalog.products IS
    'The current products, one per listing; delisted ones stay, with the time they left.';
COMMENT ON COLUMN catalog.products.product_id IS '`source:listing_id`, the listing''s identity in one value.';
COMMENT ON COLUMN catalog.products.source IS 'Shop, marketplace or feed provider.';
COMMENT ON COLUMN catalog.products.listing_id IS 'The source''s own id of the offer.';
COMMENT ON COLUMN catalog.products.seller IS 'Who offers the item.';
COMMENT ON COLUMN catalog.products.title IS 'Title without markup, odd characters or surplus space; case preserved.';
COMMENT ON COLUMN catalog.products.description IS 'Description as plain text.';
COMMENT ON COLUMN catalog.products.brand IS 'Brand, from the feed or found in the title.';
COMMENT ON COLUMN catalog.products.brand_origin IS 'Where the brand was found.';
COMMENT ON COLUMN catalog.products.gtin IS 'GTIN-14 (GS1), check digit verified; null where the feed''s was wrong.';
COMMENT ON COLUMN catalog.products.mpn IS 'Manufacturer part number, from the feed.';
COMMENT ON COLUMN catalog.products.model_codes IS 'Model numbers found in title and MPN, separators removed, upper case.';
COMMENT ON COLUMN catalog.products.category IS 'The source''s own category.';
COMMENT ON COLUMN catalog.products.price IS 'Price in `currency`.';
COMMENT ON COLUMN catalog.products.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN catalog.products.url IS 'Link to the offer; only http and https.';
COMMENT ON COLUMN catalog.products.image_url IS 'Link to its picture; only http and https.';
COMMENT ON COLUMN catalog.products.condition IS 'Condition of the item.';
COMMENT ON COLUMN catalog.products.availability IS 'Whether it can be bought.';
COMMENT ON COLUMN catalog.products.colour IS 'Canonical colour found in the title or the feed.';
COMMENT ON COLUMN catalog.products.pack_size IS 'Items in the pack; 1 unless stated.';
COMMENT ON COLUMN catalog.products.measures IS 'JSON object of physical quantities in base units, e.g. `storage_gb`, `screen_in`, `volume_l`.';
COMMENT ON COLUMN catalog.products.attributes IS 'JSON object of the feed''s remaining fields, cleaned.';
COMMENT ON COLUMN catalog.products.language IS 'ISO 639-1 code of the text''s language, where it is sure.';
COMMENT ON COLUMN catalog.products.issues IS 'Codes of what had to be dropped or guessed, e.g. `gtin_check_digit`.';
COMMENT ON COLUMN catalog.products.quality IS 'Weighted mean of the quality parts.';
COMMENT ON COLUMN catalog.products.quality_parts IS 'JSON object of the parts of `quality`, each between 0 and 1.';
COMMENT ON COLUMN catalog.products.embedding_text IS 'The text that is embedded.';
COMMENT ON COLUMN catalog.products.text_hash IS 'xxh3-128 of `embedding_text`.';
COMMENT ON COLUMN catalog.products.product_digest IS 'xxh3-128 of the product''s content.';
COMMENT ON COLUMN catalog.products.batch_key IS 'Batch that brought the product as it is.';
COMMENT ON COLUMN catalog.products.first_seen_at IS 'Delivery time of the batch that first brought it.';
COMMENT ON COLUMN catalog.products.updated_at IS 'Delivery time of the batch that last changed it.';
COMMENT ON COLUMN catalog.products.delisted_at IS 'When its listing left or could no longer be cleaned; null while it is current.';

CREATE TABLE catalog.product_history (
    history_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id   text NOT NULL,
    price        numeric(18, 4),
    currency     text,
    availability text NOT NULL,
    valid_from   timestamptz NOT NULL,
    valid_to     timestamptz,
    batch_key    text NOT NULL REFERENCES catalog.batches
);
CREATE INDEX product_history_product ON catalog.product_history (product_id, valid_from);
CREATE UNIQUE INDEX product_history_open ON catalog.product_history (product_id) WHERE valid_to IS NULL;
CREATE INDEX product_history_batch ON catalog.product_history (batch_key);

COMMENT ON TABLE catalog.product_history IS
    'What a buyer saw of a product, and when: the intervals of its price and availability.';
COMMENT ON COLUMN catalog.product_history.history_id IS 'Number of the entry.';
COMMENT ON COLUMN catalog.product_history.product_id IS 'The product.';
COMMENT ON COLUMN catalog.product_history.price IS 'Price in `currency`.';
COMMENT ON COLUMN catalog.product_history.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN catalog.product_history.availability IS 'Whether it could be bought.';
COMMENT ON COLUMN catalog.product_history.valid_from IS 'From when this was so.';
COMMENT ON COLUMN catalog.product_history.valid_to IS 'Until when; null while it is so.';
COMMENT ON COLUMN catalog.product_history.batch_key IS 'Batch that made the change.';
