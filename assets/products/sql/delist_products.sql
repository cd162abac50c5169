UPDATE catalog.products p
SET delisted_at = :delivered_at, updated_at = :delivered_at
FROM product_change c
WHERE c.change = 'delisted' AND p.product_id = c.product_id
