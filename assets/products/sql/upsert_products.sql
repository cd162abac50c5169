INSERT INTO catalog.products ({columns}, batch_key, first_seen_at, updated_at)
SELECT {incoming}, :batch_key, :delivered_at, :delivered_at
FROM incoming_products p
JOIN product_change USING (product_id)
ON CONFLICT (product_id) DO UPDATE
SET ({columns}, batch_key, updated_at, delisted_at) = ROW ({excluded}, EXCLUDED.batch_key, EXCLUDED.updated_at, NULL)
