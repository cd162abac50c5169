CREATE TEMP TABLE {table}_before ON COMMIT DROP AS
SELECT {key}, ({content})::text AS content, delisted_at IS NULL AS is_listed FROM catalog.{table} WHERE source = :source
