-- What the feed lists at this moment, and what of it the snapshot lacks.
SELECT count(*) AS listed, count(*) FILTER (WHERE i.listing_id IS NULL) AS missing
FROM catalog.listings l
JOIN catalog.listing_history h USING (source, listing_id)
LEFT JOIN incoming_ids i USING (listing_id)
WHERE l.source = :source AND l.feed_path = :feed_path
  AND h.valid_from <= :moment AND (h.valid_to IS NULL OR h.valid_to > :moment) AND h.change <> 'delisted'
