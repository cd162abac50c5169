-- Deliveries that the source is made of, and those of one batch that wait to be among them, in the order of delivery.
-- What was delivered in one moment has an order too, whichever was seen first.
SELECT d.batch_key, d.feed_path,
       CASE WHEN d.batch_key = :batch_key THEN CAST(:is_snapshot AS boolean)
            -- As it was applied: its feed may be declared otherwise by now.
            ELSE coalesce((b.artifacts ->> 'is_snapshot')::boolean, b.mode = 'snapshot') END AS is_snapshot,
       d.last_modified AS delivered_at, d.run_id IS NOT NULL AS is_applied
FROM catalog.deliveries d
JOIN catalog.batches b USING (batch_key)
WHERE d.source = :source
  AND (d.run_id IS NOT NULL
       OR (d.batch_key = :batch_key AND d.state IN ('pending', 'requested', 'failed', 'repeated')))
ORDER BY d.last_modified, d.object_key COLLATE "C", d.etag COLLATE "C", d.delivery_id
