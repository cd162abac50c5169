-- What this delivery changes, decided before anything is written. All that came before it has been applied, and nothing
-- that came after it.
CREATE TEMP TABLE listing_change ON COMMIT DROP AS
SELECT i.source, i.listing_id,
       CASE WHEN l.listing_id IS NULL THEN 'added'
            WHEN l.delisted_at IS NOT NULL THEN 'relisted'
            ELSE 'changed' END AS change
FROM incoming_listings i
LEFT JOIN catalog.listings l USING (source, listing_id)
WHERE l.listing_id IS NULL OR l.delisted_at IS NOT NULL OR l.row_digest <> i.row_digest
UNION ALL
SELECT l.source, l.listing_id, 'delisted'
FROM catalog.listings l
WHERE :is_snapshot AND l.source = :source AND l.feed_path = :feed_path AND l.delisted_at IS NULL
  AND NOT EXISTS (SELECT FROM incoming_listings i WHERE i.source = l.source AND i.listing_id = l.listing_id)
