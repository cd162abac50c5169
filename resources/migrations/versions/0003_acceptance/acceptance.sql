-- A snapshot that would delist too much is held until somebody accepts it.

ALTER TABLE catalog.batches ADD COLUMN accepted_at timestamptz;
COMMENT ON COLUMN catalog.batches.accepted_at IS
    'When somebody accepted the batch although it delists more than the guard allows; null where nobody did.';
