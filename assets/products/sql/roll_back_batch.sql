UPDATE catalog.batches SET state = 'rolled_back', accepted_at = NULL WHERE batch_key = :batch_key
