DELETE FROM catalog.cluster_members m
WHERE NOT EXISTS (SELECT FROM incoming_clusters i WHERE i.product_id = m.product_id)
