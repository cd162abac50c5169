-- Only what current products need: the store also keeps texts of products that have left.
SELECT e.text_hash, e.model_version, e.vector
FROM catalog.embeddings e
WHERE e.model_version = :model_version
  AND e.text_hash IN (SELECT text_hash FROM catalog.products WHERE delisted_at IS NULL)
