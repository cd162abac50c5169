-- What the feed lists at each of these moments, and what of it the snapshot lacks.
SELECT count(*) AS listed,
       count(*) FILTER (WHERE NOT EXISTS (SELECT FROM incoming_ids i WHERE i.listing_id = l.listing_id)) AS missing
FROM unnest(CAST(:moments AS timestamptz[])) AS moment
JOIN catalog.listing_history h ON h.valid_from <= moment AND (h.valid_to IS NULL OR h.valid_to > moment)
JOIN catalog.listings l USING (source, listing_id)
WHERE l.source = :source AND l.feed_path = :feed_path AND h.change <> 'delisted'
GROUP BY moment
