SELECT 'current products without a current listing' AS law, count(*) AS violations
FROM catalog.products p
LEFT JOIN catalog.listings l USING (source, listing_id)
WHERE p.source = :source AND p.delisted_at IS NULL AND (l.listing_id IS NULL OR l.delisted_at IS NOT NULL)
UNION ALL
SELECT 'current listings without exactly one open history', count(*)
FROM catalog.listings l
WHERE l.source = :source AND l.delisted_at IS NULL
  AND 1 <> (SELECT count(*) FROM catalog.listing_history h
            WHERE h.source = l.source AND h.listing_id = l.listing_id AND h.valid_to IS NULL)
UNION ALL
SELECT 'current products without exactly one open price history', count(*)
FROM catalog.products p
WHERE p.source = :source AND p.delisted_at IS NULL
  AND 1 <> (SELECT count(*) FROM catalog.product_history h
            WHERE h.product_id = p.product_id AND h.valid_to IS NULL)
