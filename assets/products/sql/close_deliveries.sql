UPDATE catalog.deliveries
SET state = 'ingested', run_id = :run_id, updated_at = now(), reason = NULL
WHERE batch_key = :batch_key AND state IN ('pending', 'requested', 'failed')
