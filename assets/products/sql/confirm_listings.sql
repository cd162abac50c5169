-- Rows that this delivery repeats unchanged: it has spoken of them, so that an earlier delivery that comes late, or an
-- older snapshot of another feed, can no longer change them.
UPDATE catalog.listings l
SET delivered_at = :delivered_at, last_seen_at = :delivered_at, feed_path = :feed_path
FROM incoming_listings i
WHERE l.source = i.source AND l.listing_id = i.listing_id AND l.row_digest = i.row_digest
  AND l.delisted_at IS NULL AND l.delivered_at < :delivered_at
