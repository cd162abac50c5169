SELECT artifacts::text AS artifacts, content_digest FROM catalog.batches WHERE batch_key = :batch_key
