UPDATE catalog.deliveries
SET state = CASE WHEN :state = 'applied' THEN 'ingested' ELSE 'superseded' END, run_id = :run_id, updated_at = now(),
    reason = :reason
WHERE batch_key = :batch_key AND state IN ('pending', 'requested', 'failed')
