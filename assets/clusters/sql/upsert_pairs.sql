INSERT INTO catalog.scored_pairs AS s ({columns}, run_id)
SELECT {incoming}, :run_id FROM incoming_pairs i
ON CONFLICT (left_id, right_id) DO UPDATE SET ({columns}, run_id) = ROW ({excluded}, EXCLUDED.run_id)
WHERE (s.probability, s.log_odds, s.veto, s.judgement, s.model_version)
      IS DISTINCT FROM
      (EXCLUDED.probability, EXCLUDED.log_odds, EXCLUDED.veto, EXCLUDED.judgement, EXCLUDED.model_version)
