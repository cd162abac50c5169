-- Only what a buyer sees opens a new interval: price, currency, availability, and leaving the shop.
UPDATE catalog.product_history h
SET valid_to = :delivered_at
FROM product_change c
JOIN catalog.products p USING (product_id)
WHERE h.product_id = c.product_id AND h.valid_to IS NULL
  AND (p.delisted_at IS NOT NULL
       OR (h.price, h.currency, h.availability) IS DISTINCT FROM (p.price, p.currency, p.availability))
