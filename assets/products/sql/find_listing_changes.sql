-- What this batch changes, decided before anything is written. A row that a later delivery has already brought is
-- left alone, so that late files cannot turn the catalogue back.
CREATE TEMP TABLE listing_change ON COMMIT DROP AS
SELECT i.source, i.listing_id,
       CASE WHEN l.listing_id IS NULL THEN 'added'
            WHEN l.delisted_at IS NOT NULL THEN 'relisted'
            ELSE 'changed' END AS change
FROM incoming_listings i
LEFT JOIN catalog.listings l USING (source, listing_id)
WHERE l.listing_id IS NULL
   OR (l.delivered_at <= :delivered_at AND (l.delisted_at IS NOT NULL OR l.row_digest <> i.row_digest))
UNION ALL
SELECT l.source, l.listing_id, 'delisted'
FROM catalog.listings l
WHERE :is_snapshot
  AND l.source = :source AND l.feed_path = :feed_path
  AND l.delisted_at IS NULL AND l.delivered_at <= :delivered_at
  AND NOT EXISTS (SELECT FROM incoming_listings i WHERE i.source = l.source AND i.listing_id = l.listing_id)
