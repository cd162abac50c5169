SELECT batch_key
FROM catalog.batches
WHERE source = :source AND feed_path = :feed_path AND mode = 'snapshot' AND state = 'applied'
  AND delivered_at > :delivered_at AND batch_key <> :batch_key
ORDER BY delivered_at DESC
LIMIT 1
