INSERT INTO catalog.embeddings AS e (text_hash, model_version, vector)
SELECT text_hash, model_version, vector FROM vectors_to_keep
ON CONFLICT (text_hash, model_version) DO UPDATE SET vector = EXCLUDED.vector, embedded_at = now()
WHERE e.vector <> EXCLUDED.vector
