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
