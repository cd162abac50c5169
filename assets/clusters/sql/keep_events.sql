INSERT INTO catalog.cluster_events ({columns}, run_id)
SELECT {columns}, :run_id FROM incoming_events
