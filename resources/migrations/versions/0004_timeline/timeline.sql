-- The catalogue of a source is made of its deliveries, in the order of delivery: what came late can take its place, and
-- what should never have come can be taken out.

ALTER TABLE catalog.deliveries DROP CONSTRAINT deliveries_state_check;
ALTER TABLE catalog.deliveries ADD CONSTRAINT deliveries_state_check CHECK (
    state IN ('pending', 'requested', 'ingested', 'repeated', 'failed', 'ignored', 'superseded', 'rolled_back')
);
UPDATE catalog.deliveries SET state = 'repeated' WHERE state = 'superseded' AND reason LIKE 'the same bytes as%';
COMMENT ON COLUMN catalog.deliveries.state IS
    'Where it stands: pending, requested (a run was asked for), ingested, repeated (the bytes of the delivery of the '
    'feed before it), failed, ignored, superseded (overwritten before it was read), rolled_back.';
COMMENT ON COLUMN catalog.deliveries.run_id IS
    'Run that last brought it into the catalogue; null while it is no part of it.';
CREATE INDEX deliveries_source ON catalog.deliveries (source, last_modified);

ALTER TABLE catalog.batches ADD COLUMN artifacts jsonb;
COMMENT ON COLUMN catalog.batches.artifacts IS
    'JSON object: table -> artifact that the catalogue was made from, e.g. of `cleaned_products`; null until it was.';
COMMENT ON COLUMN catalog.batches.content_digest IS 'Hash of the listings and products that the catalogue was made from.';

ALTER TABLE catalog.batches ADD COLUMN replayed text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN catalog.batches.replayed IS
    'Reasons whose rejected rows are to be taken through again when the batch runs next; empty: all that was delivered.';

CREATE TABLE catalog.erasures (
    source         text NOT NULL,
    listing_digest text NOT NULL,
    erased_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, listing_digest)
);
COMMENT ON TABLE catalog.erasures IS
    'Listings that were erased and do not come in again; their ids are kept as digests only.';
COMMENT ON COLUMN catalog.erasures.source IS 'Source of the listing.';
COMMENT ON COLUMN catalog.erasures.listing_digest IS 'xxh3-128 of the source''s own id of the offer.';
COMMENT ON COLUMN catalog.erasures.erased_at IS 'When it was erased.';

COMMENT ON TABLE catalog.scored_pairs IS
    'Pairs that are likely, or in one cluster, with the evidence for and against; the artifact has all that were compared.';
COMMENT ON COLUMN catalog.scored_pairs.model_version IS
    'Version of the match model: its weights and the statistics they go by.';
