-- What has not changed is left out by a join: to try an insert for every pair takes many times as long, and locks rows.
INSERT INTO catalog.scored_pairs ({columns}, run_id)
SELECT {incoming}, :run_id FROM incoming_pairs i
LEFT JOIN catalog.scored_pairs s ON s.left_id = i.left_id AND s.right_id = i.right_id
WHERE (s.probability, s.log_odds, s.veto, s.judgement, s.model_version)
      IS DISTINCT FROM
      (i.probability, i.log_odds, i.veto, i.judgement, i.model_version)
ON CONFLICT (left_id, right_id) DO UPDATE SET ({columns}, run_id) = ROW ({excluded}, EXCLUDED.run_id)
