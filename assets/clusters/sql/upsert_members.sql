INSERT INTO catalog.cluster_members AS m (product_id, cluster_id, confidence)
SELECT product_id, cluster_id, confidence FROM incoming_clusters
ON CONFLICT (product_id) DO UPDATE SET cluster_id = EXCLUDED.cluster_id, confidence = EXCLUDED.confidence
WHERE (m.cluster_id, m.confidence) IS DISTINCT FROM (EXCLUDED.cluster_id, EXCLUDED.confidence)
