SELECT count(*) AS listed,
       count(*) FILTER (WHERE NOT EXISTS (SELECT FROM incoming_ids i WHERE i.listing_id = l.listing_id)) AS missing
FROM catalog.listings l
WHERE l.source = :source AND l.feed_path = :feed_path AND l.delisted_at IS NULL AND l.delivered_at <= :delivered_at
