-- What a source was against what it is, in the words of a batch's changes. What was added and has left again is neither.
SELECT change, count(*) AS rows
FROM (
    SELECT CASE WHEN before.content IS NULL AND present.is_listed THEN 'added'
                WHEN before.is_listed AND present.is_listed IS NOT TRUE THEN 'delisted'
                WHEN NOT before.is_listed AND present.is_listed THEN 'relisted'
                WHEN before.is_listed AND before.content <> present.content THEN 'changed' END AS change
    FROM {table}_before before
    FULL JOIN (
        SELECT {key}, ({content})::text AS content, delisted_at IS NULL AS is_listed
        FROM catalog.{table} WHERE source = :source
    ) present USING ({key})
) compared
WHERE change IS NOT NULL
GROUP BY change
ORDER BY change
