-- Members that come back bring back the id that they had: it is looked for in the events by which clusters went.

CREATE INDEX cluster_events_gone ON catalog.cluster_events USING gin (members_before) WHERE members_after = '{}';
