INSERT INTO catalog.cluster_summaries AS s ({columns}, written_at)
SELECT {incoming}, now() FROM incoming_summaries i
ON CONFLICT (cluster_id) DO UPDATE SET ({columns}, written_at) = ROW ({excluded}, EXCLUDED.written_at)
WHERE (s.record_digest, s.author, s.summary) IS DISTINCT FROM (EXCLUDED.record_digest, EXCLUDED.author, EXCLUDED.summary)
