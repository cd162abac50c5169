-- Bytes that repeat the batch are written down before it is applied, or after: they are part of it either way.
SELECT FROM catalog.batches WHERE batch_key = :batch_key FOR UPDATE
