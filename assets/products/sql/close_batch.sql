-- Reasons are those of the rows and of the listings together; the intake wrote down the rows' reasons.
UPDATE catalog.batches
SET state = 'applied', replayed = NULL, run_id = :run_id, applied_at = now(), artifacts = CAST(:artifacts AS jsonb),
    content_digest = :content_digest, products_accepted = :products_accepted,
    products_rejected = :products_rejected, reject_reasons = reject_reasons || CAST(:reasons AS jsonb)
WHERE batch_key = :batch_key
