UPDATE catalog.clusters c
SET dissolved_at = now(), updated_at = now(), size = 0
WHERE c.dissolved_at IS NULL
  AND NOT EXISTS (SELECT FROM incoming_clusters i WHERE i.cluster_id = c.cluster_id)
