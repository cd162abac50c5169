-- What was delivered, and what became of it. The ledger knows object versions, the batches what was read from them.

CREATE TABLE catalog.deliveries (
    delivery_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bucket        text NOT NULL,
    object_key    text NOT NULL,
    etag          text NOT NULL,
    size          bigint NOT NULL CHECK (size >= 0),
    last_modified timestamptz NOT NULL,
    version_id    text,
    prefix        text NOT NULL,
    source        text,
    feed_path     text,
    batch_key     text,
    state         text NOT NULL DEFAULT 'pending'
                      CHECK (state IN ('pending', 'requested', 'ingested', 'failed', 'ignored', 'superseded')),
    reason        text,
    attempts      integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    run_id        text,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (bucket, object_key, etag, last_modified)
);
CREATE INDEX deliveries_open ON catalog.deliveries (state) WHERE state IN ('pending', 'requested', 'failed');
CREATE INDEX deliveries_batch ON catalog.deliveries (batch_key);

COMMENT ON TABLE catalog.deliveries IS
    'The sensor''s ledger: every version of every object that was ever seen in the landing bucket.';
COMMENT ON COLUMN catalog.deliveries.delivery_id IS 'Number of the delivery, in the order in which they were seen.';
COMMENT ON COLUMN catalog.deliveries.bucket IS 'Bucket it was delivered to.';
COMMENT ON COLUMN catalog.deliveries.object_key IS 'Key of the object.';
COMMENT ON COLUMN catalog.deliveries.etag IS 'Version of the content, as the store names it.';
COMMENT ON COLUMN catalog.deliveries.size IS 'Bytes.';
COMMENT ON COLUMN catalog.deliveries.last_modified IS 'When the store received it.';
COMMENT ON COLUMN catalog.deliveries.version_id IS 'The store''s id of the version, in buckets that keep versions.';
COMMENT ON COLUMN catalog.deliveries.prefix IS 'Landing prefix under which it was found.';
COMMENT ON COLUMN catalog.deliveries.source IS 'Source whose contract claims the object; null when none does.';
COMMENT ON COLUMN catalog.deliveries.feed_path IS 'Path of the feed in that contract.';
COMMENT ON COLUMN catalog.deliveries.batch_key IS 'Batch (partition) it belongs to, once it is known.';
COMMENT ON COLUMN catalog.deliveries.state IS 'Where it stands: pending, requested (a run was asked for), ingested, failed, ignored, superseded.';
COMMENT ON COLUMN catalog.deliveries.reason IS 'Why it failed or was left alone, for a person.';
COMMENT ON COLUMN catalog.deliveries.attempts IS 'Runs that were requested for it.';
COMMENT ON COLUMN catalog.deliveries.run_id IS 'Last run that dealt with it.';
COMMENT ON COLUMN catalog.deliveries.first_seen_at IS 'When the sensor first saw it.';
COMMENT ON COLUMN catalog.deliveries.updated_at IS 'When this row last changed.';

CREATE TABLE catalog.batches (
    batch_key         text PRIMARY KEY,
    source            text NOT NULL,
    feed_path         text NOT NULL,
    object_key        text NOT NULL,
    etag              text NOT NULL,
    mode              text NOT NULL CHECK (mode IN ('snapshot', 'delta')),
    contract          jsonb NOT NULL,
    contract_digest   text NOT NULL,
    delivered_at      timestamptz NOT NULL,
    content_digest    text,
    rows_read         bigint NOT NULL DEFAULT 0,
    rows_accepted     bigint NOT NULL DEFAULT 0,
    rows_rejected     bigint NOT NULL DEFAULT 0,
    rows_repeated     bigint NOT NULL DEFAULT 0,
    products_accepted bigint NOT NULL DEFAULT 0,
    products_rejected bigint NOT NULL DEFAULT 0,
    reject_reasons    jsonb NOT NULL DEFAULT '{}',
    state             text NOT NULL DEFAULT 'pending'
                          CHECK (state IN ('pending', 'applied', 'superseded', 'held', 'failed', 'rolled_back')),
    run_id            text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    applied_at        timestamptz,
    CONSTRAINT nothing_is_lost CHECK (rows_read = rows_accepted + rows_rejected + rows_repeated)
);
CREATE INDEX batches_feed ON catalog.batches (source, feed_path, delivered_at);

COMMENT ON TABLE catalog.batches IS
    'One row per delivered version of one feed: what it promised, what was read, what became of it.';
COMMENT ON COLUMN catalog.batches.batch_key IS 'The batch (partition); the same for the same delivered bytes of the same feed.';
COMMENT ON COLUMN catalog.batches.source IS 'Source of the feed.';
COMMENT ON COLUMN catalog.batches.feed_path IS 'Path of the feed in its contract.';
COMMENT ON COLUMN catalog.batches.object_key IS 'Object it was read from.';
COMMENT ON COLUMN catalog.batches.etag IS 'Version of that object.';
COMMENT ON COLUMN catalog.batches.mode IS 'snapshot: what is missing is delisted; delta: rows add and change.';
COMMENT ON COLUMN catalog.batches.contract IS 'The contract it was read by, as declared.';
COMMENT ON COLUMN catalog.batches.contract_digest IS 'Hash of that contract.';
COMMENT ON COLUMN catalog.batches.delivered_at IS 'When the source delivered it.';
COMMENT ON COLUMN catalog.batches.content_digest IS 'Hash of the content, once it was read.';
COMMENT ON COLUMN catalog.batches.rows_read IS 'Rows in the feed.';
COMMENT ON COLUMN catalog.batches.rows_accepted IS 'Rows that kept the contract.';
COMMENT ON COLUMN catalog.batches.rows_rejected IS 'Rows that broke it.';
COMMENT ON COLUMN catalog.batches.rows_repeated IS 'Exact repeats of an accepted row.';
COMMENT ON COLUMN catalog.batches.products_accepted IS 'Listings that became products.';
COMMENT ON COLUMN catalog.batches.products_rejected IS 'Listings that did not.';
COMMENT ON COLUMN catalog.batches.reject_reasons IS 'JSON object: reason -> rows, of listings and products.';
COMMENT ON COLUMN catalog.batches.state IS 'Where it stands: pending, applied to the catalogue, superseded by a newer snapshot, held, failed, rolled back.';
COMMENT ON COLUMN catalog.batches.run_id IS 'Run that applied it.';
COMMENT ON COLUMN catalog.batches.created_at IS 'When it was first known.';
COMMENT ON COLUMN catalog.batches.applied_at IS 'When the catalogue took it.';
