INSERT INTO catalog.embeddings (text_hash, model_version, vector)
SELECT text_hash, model_version, vector FROM fresh_vectors
ON CONFLICT (text_hash, model_version) DO NOTHING
