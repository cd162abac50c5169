UPDATE catalog.products p
SET ({columns}) = ROW ({incoming})
FROM unaltered_products u
WHERE p.product_id = u.product_id AND p.delisted_at IS NULL
  AND (p.product_digest, p.text_hash, p.quality, p.issues) = (u.product_digest, u.text_hash, u.quality, u.issues)
