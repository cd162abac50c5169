INSERT INTO catalog.golden_records AS g ({columns})
SELECT {incoming} FROM incoming_records i
ON CONFLICT (cluster_id) DO UPDATE SET ({columns}, updated_at) = ROW ({excluded}, now())
WHERE g.record_digest <> EXCLUDED.record_digest
