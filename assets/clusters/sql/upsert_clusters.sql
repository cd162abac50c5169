INSERT INTO catalog.clusters AS c (cluster_id, size, weakest_link)
SELECT cluster_id, max(cluster_size), min(weakest_link)
FROM incoming_clusters
GROUP BY cluster_id
ON CONFLICT (cluster_id) DO UPDATE
SET size = EXCLUDED.size, weakest_link = EXCLUDED.weakest_link, updated_at = now(), dissolved_at = NULL
WHERE (c.size, c.weakest_link, c.dissolved_at) IS DISTINCT FROM (EXCLUDED.size, EXCLUDED.weakest_link, NULL)
