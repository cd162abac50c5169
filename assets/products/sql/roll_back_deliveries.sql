UPDATE catalog.deliveries
SET state = 'rolled_back', run_id = NULL, updated_at = now(), reason = 'its batch was rolled back'
WHERE batch_key = :batch_key AND state <> 'superseded'
