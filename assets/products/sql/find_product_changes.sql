-- A product follows its listing: it is current when the row it was cleaned from is the listing's current row.
CREATE TEMP TABLE product_change ON COMMIT DROP AS
SELECT p.product_id,
       CASE WHEN c.product_id IS NULL THEN 'added'
            WHEN c.delisted_at IS NOT NULL THEN 'relisted'
            ELSE 'changed' END AS change
FROM incoming_products p
JOIN incoming_listings i USING (source, listing_id)
JOIN catalog.listings l USING (source, listing_id)
LEFT JOIN catalog.products c ON c.product_id = p.product_id
WHERE l.row_digest = i.row_digest AND l.delisted_at IS NULL
  AND (c.product_id IS NULL OR c.delisted_at IS NOT NULL OR (c.product_digest, c.text_hash, c.quality, c.issues)
          IS DISTINCT FROM (p.product_digest, p.text_hash, p.quality, p.issues))
UNION ALL
SELECT c.product_id, 'delisted'
FROM catalog.products c
JOIN catalog.listings l USING (source, listing_id)
LEFT JOIN incoming_listings i USING (source, listing_id)
LEFT JOIN incoming_products p USING (source, listing_id)
WHERE c.delisted_at IS NULL AND l.source = :source
  AND (l.delisted_at IS NOT NULL OR (i.row_digest = l.row_digest AND p.product_id IS NULL))
