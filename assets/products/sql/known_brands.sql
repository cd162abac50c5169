-- How many current products of other batches carry each brand by their feed's own word: the same batch cleaned again must
-- not see itself.
SELECT brand, count(*) AS products
FROM catalog.products
WHERE brand_origin = 'feed' AND delisted_at IS NULL AND batch_key <> :batch_key
GROUP BY brand
ORDER BY brand
