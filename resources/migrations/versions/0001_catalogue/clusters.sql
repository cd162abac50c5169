-- Which products are one product, why, and what happened to the groups.

CREATE TABLE catalog.scored_pairs (
    left_id       text NOT NULL,
    right_id      text NOT NULL,
    probability   double precision NOT NULL CHECK (probability BETWEEN 0 AND 1),
    log_odds      double precision NOT NULL,
    veto          text,
    evidence      jsonb NOT NULL,
    model_version text NOT NULL,
    run_id        text NOT NULL,
    PRIMARY KEY (left_id, right_id),
    CHECK (left_id COLLATE "C" < right_id COLLATE "C")
);
CREATE INDEX scored_pairs_right ON catalog.scored_pairs (right_id);

COMMENT ON TABLE catalog.scored_pairs IS
    'Pairs that were compared, with the evidence for and against.';
COMMENT ON COLUMN catalog.scored_pairs.left_id IS 'The product whose id sorts first.';
COMMENT ON COLUMN catalog.scored_pairs.right_id IS 'The product whose id sorts last.';
COMMENT ON COLUMN catalog.scored_pairs.probability IS 'Probability that both are one product.';
COMMENT ON COLUMN catalog.scored_pairs.log_odds IS 'Log-odds of the same, before vetoes.';
COMMENT ON COLUMN catalog.scored_pairs.veto IS 'Code of the hard conflict that keeps the two apart, where there is one.';
COMMENT ON COLUMN catalog.scored_pairs.evidence IS 'JSON object: contribution of each feature to the log-odds.';
COMMENT ON COLUMN catalog.scored_pairs.model_version IS 'Version of the match model.';
COMMENT ON COLUMN catalog.scored_pairs.run_id IS 'Run that scored it.';

CREATE TABLE catalog.clusters (
    cluster_id   text PRIMARY KEY CHECK (cluster_id ~ '^c_[0-9a-z]{16}$'),
    size         integer NOT NULL CHECK (size >= 0),
    weakest_link double precision NOT NULL CHECK (weakest_link BETWEEN 0 AND 1),
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    dissolved_at timestamptz
);

COMMENT ON TABLE catalog.clusters IS
    'Every cluster there ever was; a dissolved one keeps its id, which leads to its successors by cluster_events.';
COMMENT ON COLUMN catalog.clusters.cluster_id IS 'Lasting id of the cluster.';
COMMENT ON COLUMN catalog.clusters.size IS 'Members; 0 once dissolved.';
COMMENT ON COLUMN catalog.clusters.weakest_link IS 'Smallest of the members'' confidences; 1 for a cluster of one.';
COMMENT ON COLUMN catalog.clusters.created_at IS 'When it first appeared.';
COMMENT ON COLUMN catalog.clusters.updated_at IS 'When its members last changed.';
COMMENT ON COLUMN catalog.clusters.dissolved_at IS 'When its last member left; null while it lives.';

CREATE TABLE catalog.cluster_members (
    product_id text PRIMARY KEY,
    cluster_id text NOT NULL,
    confidence double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1)
);
CREATE INDEX cluster_members_cluster ON catalog.cluster_members (cluster_id);

COMMENT ON TABLE catalog.cluster_members IS
    'The cluster of every current product.';
COMMENT ON COLUMN catalog.cluster_members.product_id IS 'The product.';
COMMENT ON COLUMN catalog.cluster_members.cluster_id IS 'Its cluster.';
COMMENT ON COLUMN catalog.cluster_members.confidence IS 'Mean probability of its pairs inside the cluster; 1 for a cluster of one.';

CREATE TABLE catalog.cluster_events (
    event_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id     text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('created', 'grown', 'shrunk', 'merged', 'split', 'dissolved')),
    members_before text[] NOT NULL,
    members_after  text[] NOT NULL,
    successors     text[] NOT NULL,
    run_id         text NOT NULL,
    occurred_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX cluster_events_cluster ON catalog.cluster_events (cluster_id, event_id);

COMMENT ON TABLE catalog.cluster_events IS
    'What happened to the clusters, for ever.';
COMMENT ON COLUMN catalog.cluster_events.event_id IS 'Number of the event, in order.';
COMMENT ON COLUMN catalog.cluster_events.cluster_id IS 'The cluster it happened to.';
COMMENT ON COLUMN catalog.cluster_events.kind IS 'What happened.';
COMMENT ON COLUMN catalog.cluster_events.members_before IS 'Product ids before.';
COMMENT ON COLUMN catalog.cluster_events.members_after IS 'Product ids after.';
COMMENT ON COLUMN catalog.cluster_events.successors IS 'Clusters that hold its former members now, largest share first.';
COMMENT ON COLUMN catalog.cluster_events.run_id IS 'Run that found it.';
COMMENT ON COLUMN catalog.cluster_events.occurred_at IS 'When it was found.';
