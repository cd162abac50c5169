-- Rows that this delivery repeats unchanged: it has spoken of them, and from now on they are its feed's to delist.
UPDATE catalog.listings l
SET delivered_at = :delivered_at, last_seen_at = :delivered_at, feed_path = :feed_path
FROM incoming_listings i
WHERE l.source = i.source AND l.listing_id = i.listing_id AND l.row_digest = i.row_digest
  AND NOT EXISTS (SELECT FROM listing_change c WHERE c.source = l.source AND c.listing_id = l.listing_id)
