SELECT DISTINCT ON (product_id) product_id, e.cluster_id, e.members_before AS members
FROM catalog.cluster_events e
JOIN catalog.clusters c ON c.cluster_id = e.cluster_id AND c.dissolved_at IS NOT NULL
CROSS JOIN LATERAL unnest(e.members_before) AS member (product_id)
WHERE e.members_after = '{}' AND e.members_before && :product_ids AND product_id = ANY (:product_ids)
ORDER BY product_id, e.event_id DESC
