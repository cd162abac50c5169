INSERT INTO catalog.product_history (product_id, price, currency, availability, valid_from, batch_key)
SELECT p.product_id, p.price, p.currency, p.availability, :delivered_at, :batch_key
FROM product_change c
JOIN catalog.products p USING (product_id)
WHERE p.delisted_at IS NULL
  AND NOT EXISTS (SELECT FROM catalog.product_history h WHERE h.product_id = p.product_id AND h.valid_to IS NULL)
