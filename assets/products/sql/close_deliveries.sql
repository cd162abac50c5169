-- Where the contract was corrected while the rows were read by the one before, the delivery waits to be read again.
UPDATE catalog.deliveries d
SET state = CASE WHEN d.state = 'repeated' THEN 'repeated'
                 WHEN b.artifacts ->> 'contract_digest' <> b.contract_digest THEN 'pending'
                 ELSE 'ingested' END,
    reason = CASE WHEN d.state = 'repeated' THEN d.reason END, run_id = :run_id, updated_at = now()
FROM catalog.batches b
WHERE d.batch_key = :batch_key AND b.batch_key = d.batch_key
  AND d.state IN ('pending', 'requested', 'failed', 'repeated')
