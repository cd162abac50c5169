-- Offers as published: the current ones, and every state they were ever in.

CREATE TABLE catalog.listings (
    source        text NOT NULL,
    listing_id    text NOT NULL,
    seller        text NOT NULL,
    title         text NOT NULL,
    description   text,
    brand         text,
    gtin          text,
    mpn           text,
    category      text,
    price         text,
    currency      text,
    url           text,
    image_url     text,
    condition     text,
    availability  text,
    attributes    jsonb NOT NULL,
    row_number    bigint NOT NULL CHECK (row_number >= 1),
    row_digest    text NOT NULL,
    batch_key     text NOT NULL REFERENCES catalog.batches,
    feed_path     text NOT NULL,
    delivered_at  timestamptz NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    changed_at    timestamptz NOT NULL,
    delisted_at   timestamptz,
    PRIMARY KEY (source, listing_id)
);
CREATE INDEX listings_feed ON catalog.listings (source, feed_path) WHERE delisted_at IS NULL;
CREATE INDEX listings_batch ON catalog.listings (batch_key);

COMMENT ON TABLE catalog.listings IS
    'The current listings of every source, as published; delisted ones stay, with the time they left.';
COMMENT ON COLUMN catalog.listings.source IS 'Shop, marketplace or feed provider.';
COMMENT ON COLUMN catalog.listings.listing_id IS 'The source''s own id of the offer.';
COMMENT ON COLUMN catalog.listings.seller IS 'Who offers the item; the source itself unless the feed says.';
COMMENT ON COLUMN catalog.listings.title IS 'Offer title as published.';
COMMENT ON COLUMN catalog.listings.description IS 'Offer text as published, markup included.';
COMMENT ON COLUMN catalog.listings.brand IS 'Brand or manufacturer as published.';
COMMENT ON COLUMN catalog.listings.gtin IS 'Global Trade Item Number as published, not yet validated.';
COMMENT ON COLUMN catalog.listings.mpn IS 'Manufacturer part number as published.';
COMMENT ON COLUMN catalog.listings.category IS 'The source''s own category.';
COMMENT ON COLUMN catalog.listings.price IS 'Price as published, in the source''s own notation.';
COMMENT ON COLUMN catalog.listings.currency IS 'Currency the row names, else the contract''s default.';
COMMENT ON COLUMN catalog.listings.url IS 'Link to the offer as published.';
COMMENT ON COLUMN catalog.listings.image_url IS 'Link to its picture as published.';
COMMENT ON COLUMN catalog.listings.condition IS 'Condition as published.';
COMMENT ON COLUMN catalog.listings.availability IS 'Availability as published.';
COMMENT ON COLUMN catalog.listings.attributes IS 'JSON object of the feed''s remaining fields.';
COMMENT ON COLUMN catalog.listings.row_number IS '1-based position of the row in the feed.';
COMMENT ON COLUMN catalog.listings.row_digest IS 'xxh3-128 of the row''s content, its position left out.';
COMMENT ON COLUMN catalog.listings.batch_key IS 'Batch that brought the row as it is.';
COMMENT ON COLUMN catalog.listings.feed_path IS 'Feed that lists it.';
COMMENT ON COLUMN catalog.listings.delivered_at IS 'Delivery time of the newest batch that spoke of it.';
COMMENT ON COLUMN catalog.listings.first_seen_at IS 'Delivery time of the batch that first brought it.';
COMMENT ON COLUMN catalog.listings.last_seen_at IS 'Delivery time of the newest batch that held it.';
COMMENT ON COLUMN catalog.listings.changed_at IS 'Delivery time of the batch that last changed it.';
COMMENT ON COLUMN catalog.listings.delisted_at IS 'Delivery time of the snapshot it was missing from; null while it is listed.';

CREATE TABLE catalog.listing_history (
    history_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source       text NOT NULL,
    listing_id   text NOT NULL,
    batch_key    text NOT NULL REFERENCES catalog.batches,
    change       text NOT NULL CHECK (change IN ('added', 'changed', 'delisted', 'relisted')),
    valid_from   timestamptz NOT NULL,
    valid_to     timestamptz,
    row_digest   text NOT NULL,
    title        text NOT NULL,
    price        text,
    currency     text,
    availability text,
    record       jsonb NOT NULL
);
CREATE INDEX listing_history_listing ON catalog.listing_history (source, listing_id, valid_from);
CREATE UNIQUE INDEX listing_history_open ON catalog.listing_history (source, listing_id) WHERE valid_to IS NULL;
CREATE INDEX listing_history_batch ON catalog.listing_history (batch_key);

COMMENT ON TABLE catalog.listing_history IS
    'Every state of every listing, with the time it was true.';
COMMENT ON COLUMN catalog.listing_history.history_id IS 'Number of the entry.';
COMMENT ON COLUMN catalog.listing_history.source IS 'Source of the listing.';
COMMENT ON COLUMN catalog.listing_history.listing_id IS 'The source''s own id of the offer.';
COMMENT ON COLUMN catalog.listing_history.batch_key IS 'Batch that made the change.';
COMMENT ON COLUMN catalog.listing_history.change IS 'What happened: added, changed, delisted, relisted.';
COMMENT ON COLUMN catalog.listing_history.valid_from IS 'From when this was so.';
COMMENT ON COLUMN catalog.listing_history.valid_to IS 'Until when; null while it is so.';
COMMENT ON COLUMN catalog.listing_history.row_digest IS 'Digest of the row.';
COMMENT ON COLUMN catalog.listing_history.title IS 'Title as published.';
COMMENT ON COLUMN catalog.listing_history.price IS 'Price as published.';
COMMENT ON COLUMN catalog.listing_history.currency IS 'Currency as published.';
COMMENT ON COLUMN catalog.listing_history.availability IS 'Availability as published.';
COMMENT ON COLUMN catalog.listing_history.record IS 'The listing, whole.';
