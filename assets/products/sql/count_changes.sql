SELECT change, count(*) AS rows FROM {table} GROUP BY change ORDER BY change
