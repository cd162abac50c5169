-- What the catalogue is made of has one definition: the deliveries that a run brought into it.

-- Bytes that were delivered again count as brought in with those that they repeat.
UPDATE catalog.deliveries d
SET run_id = (SELECT e.run_id FROM catalog.deliveries e
              WHERE e.batch_key = d.batch_key AND e.run_id IS NOT NULL AND e.last_modified <= d.last_modified
              ORDER BY e.last_modified DESC, e.delivery_id DESC LIMIT 1)
FROM catalog.batches b
WHERE d.state = 'repeated' AND d.run_id IS NULL AND b.batch_key = d.batch_key AND b.state <> 'rolled_back';

CREATE VIEW catalog.current_batches AS
SELECT b.*
FROM catalog.batches b
WHERE EXISTS (SELECT FROM catalog.deliveries d WHERE d.batch_key = b.batch_key AND d.run_id IS NOT NULL)
  AND (NOT coalesce((b.artifacts ->> 'is_snapshot')::boolean, b.mode = 'snapshot')
       OR b.batch_key = (SELECT d.batch_key FROM catalog.deliveries d
                         WHERE d.source = b.source AND d.feed_path = b.feed_path AND d.run_id IS NOT NULL
                         ORDER BY d.last_modified DESC, d.object_key COLLATE "C" DESC, d.etag COLLATE "C" DESC,
                                  d.delivery_id DESC
                         LIMIT 1));
COMMENT ON VIEW catalog.current_batches IS
    'What the catalogue is made of now: the newest snapshot of every feed, and every delta, whatever may be done with '
    'them next.';

ALTER TABLE catalog.batches ALTER COLUMN replayed DROP NOT NULL, ALTER COLUMN replayed DROP DEFAULT;
UPDATE catalog.batches SET replayed = NULL WHERE replayed = '{}';
COMMENT ON COLUMN catalog.batches.replayed IS
    'Reasons whose rejected rows are to be taken through again when the batch runs next, all others staying what they '
    'became (empty: all of them); null: all that was delivered is read.';
COMMENT ON COLUMN catalog.batches.content_digest IS
    'Mode, and hash of the listings and products, that the catalogue was made from.';
COMMENT ON COLUMN catalog.batches.artifacts IS
    'JSON object: table -> artifact that the catalogue was made from, e.g. of `cleaned_products`, how many exact '
    'repeats there were beside them, the hash of the contract they were read by, and whether they were applied as a '
    'snapshot; null until it was.';
