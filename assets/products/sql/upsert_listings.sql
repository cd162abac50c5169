INSERT INTO catalog.listings ({columns}, batch_key, feed_path, delivered_at, first_seen_at, last_seen_at, changed_at)
SELECT {incoming}, :batch_key, :feed_path, :delivered_at, :delivered_at, :delivered_at, :delivered_at
FROM incoming_listings i
JOIN listing_change USING (source, listing_id)
ON CONFLICT (source, listing_id) DO UPDATE
SET ({columns}, batch_key, feed_path, delivered_at, last_seen_at, changed_at, delisted_at)
  = ROW ({excluded}, EXCLUDED.batch_key, EXCLUDED.feed_path, EXCLUDED.delivered_at, EXCLUDED.last_seen_at,
         EXCLUDED.changed_at, NULL)
