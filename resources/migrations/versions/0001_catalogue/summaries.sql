-- What is known of a cluster, and the words for it.

CREATE TABLE catalog.golden_records (
    cluster_id    text PRIMARY KEY,
    title         text NOT NULL,
    brand         text,
    gtin          text,
    mpn           text,
    category      text,
    description   text,
    image_url     text,
    colour        text,
    measures      jsonb NOT NULL,
    offers        integer NOT NULL CHECK (offers >= 1),
    sellers       integer NOT NULL CHECK (sellers >= 1),
    currency      text,
    price_min     numeric(18, 4) CHECK (price_min >= 0),
    price_median  numeric(18, 4) CHECK (price_median >= 0),
    price_max     numeric(18, 4) CHECK (price_max >= 0),
    disagreements jsonb NOT NULL,
    provenance    jsonb NOT NULL,
    record_digest text NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX golden_records_title_trigrams ON catalog.golden_records USING gin (title gin_trgm_ops);

COMMENT ON TABLE catalog.golden_records IS
    'One row per cluster: its best value for each field, each with the listing it came from.';
COMMENT ON COLUMN catalog.golden_records.cluster_id IS 'The cluster.';
COMMENT ON COLUMN catalog.golden_records.title IS 'Best title.';
COMMENT ON COLUMN catalog.golden_records.brand IS 'Brand most offers agree on.';
COMMENT ON COLUMN catalog.golden_records.gtin IS 'GTIN-14 most offers agree on.';
COMMENT ON COLUMN catalog.golden_records.mpn IS 'Manufacturer part number most offers agree on.';
COMMENT ON COLUMN catalog.golden_records.category IS 'Most frequent category.';
COMMENT ON COLUMN catalog.golden_records.description IS 'Best description.';
COMMENT ON COLUMN catalog.golden_records.image_url IS 'A picture of it.';
COMMENT ON COLUMN catalog.golden_records.colour IS 'Colour most offers agree on.';
COMMENT ON COLUMN catalog.golden_records.measures IS 'JSON object of quantities most offers agree on.';
COMMENT ON COLUMN catalog.golden_records.offers IS 'Offers in the cluster.';
COMMENT ON COLUMN catalog.golden_records.sellers IS 'Distinct sellers.';
COMMENT ON COLUMN catalog.golden_records.currency IS 'Currency of the price columns: the one most offers use.';
COMMENT ON COLUMN catalog.golden_records.price_min IS 'Lowest price in `currency`.';
COMMENT ON COLUMN catalog.golden_records.price_median IS 'Median price in `currency`.';
COMMENT ON COLUMN catalog.golden_records.price_max IS 'Highest price in `currency`.';
COMMENT ON COLUMN catalog.golden_records.disagreements IS 'JSON object: field -> the values members state, where more than one.';
COMMENT ON COLUMN catalog.golden_records.provenance IS 'JSON object: field -> product_id its value came from.';
COMMENT ON COLUMN catalog.golden_records.record_digest IS 'xxh3-128 of the record; a summary is written again only when it changes.';
COMMENT ON COLUMN catalog.golden_records.updated_at IS 'When the record last changed.';

CREATE TABLE catalog.cluster_summaries (
    cluster_id      text PRIMARY KEY,
    headline        text NOT NULL,
    summary         text NOT NULL,
    author          text NOT NULL,
    fallback_reason text,
    record_digest   text NOT NULL,
    written_at      timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE catalog.cluster_summaries IS
    'One readable summary per cluster, written from its golden record alone.';
COMMENT ON COLUMN catalog.cluster_summaries.cluster_id IS 'The cluster.';
COMMENT ON COLUMN catalog.cluster_summaries.headline IS 'What it is, in one line.';
COMMENT ON COLUMN catalog.cluster_summaries.summary IS 'What it is, how many shops, the price range, where they disagree.';
COMMENT ON COLUMN catalog.cluster_summaries.author IS '`template`, or the model that worded it.';
COMMENT ON COLUMN catalog.cluster_summaries.fallback_reason IS 'Why a model''s text was not used, where one was asked.';
COMMENT ON COLUMN catalog.cluster_summaries.record_digest IS 'Digest of the golden record it was written from.';
COMMENT ON COLUMN catalog.cluster_summaries.written_at IS 'When it was written.';
