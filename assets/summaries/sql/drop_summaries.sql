DELETE FROM catalog.cluster_summaries s
WHERE NOT EXISTS (SELECT FROM incoming_summaries i WHERE i.cluster_id = s.cluster_id)
