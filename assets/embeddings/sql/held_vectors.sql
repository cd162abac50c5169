SELECT text_hash, model_version, vector
FROM catalog.embeddings
WHERE model_version = :model_version AND text_hash = ANY (:hashes)
