DELETE FROM catalog.golden_records g
WHERE NOT EXISTS (SELECT FROM incoming_records i WHERE i.cluster_id = g.cluster_id)
