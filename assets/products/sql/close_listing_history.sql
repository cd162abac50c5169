UPDATE catalog.listing_history h
SET valid_to = :delivered_at
FROM listing_change c
WHERE h.source = c.source AND h.listing_id = c.listing_id AND h.valid_to IS NULL
