ALTER TABLE catalog.scored_pairs ALTER COLUMN evidence DROP NOT NULL;
COMMENT ON COLUMN catalog.scored_pairs.evidence IS
    'JSON object: contribution of each feature to the log-odds; none where the pair is unlikely and was not joined.';
