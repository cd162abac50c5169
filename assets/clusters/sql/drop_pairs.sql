DELETE FROM catalog.scored_pairs s
WHERE NOT EXISTS (SELECT FROM incoming_pairs i WHERE i.left_id = s.left_id AND i.right_id = s.right_id)
