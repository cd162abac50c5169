INSERT INTO catalog.listing_history
       (source, listing_id, batch_key, change, valid_from, row_digest, title, price, currency, availability, record)
SELECT l.source, l.listing_id, :batch_key, c.change, :delivered_at, l.row_digest, l.title, l.price, l.currency,
       l.availability, to_jsonb(l)
FROM listing_change c
JOIN catalog.listings l USING (source, listing_id)
