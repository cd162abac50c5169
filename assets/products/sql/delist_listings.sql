UPDATE catalog.listings l
SET delisted_at = :delivered_at, changed_at = :delivered_at, delivered_at = :delivered_at, batch_key = :batch_key
FROM listing_change c
WHERE c.change = 'delisted' AND l.source = c.source AND l.listing_id = c.listing_id
