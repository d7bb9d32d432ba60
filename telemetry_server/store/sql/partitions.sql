-- name: months
-- The first days of the months that have a partition.
SELECT c.relname
FROM pg_inherits AS h
JOIN pg_class AS c ON c.oid = h.inhrelid
WHERE h.inhparent = 'pings'::regclass AND c.relname <> 'pings_default'
ORDER BY c.relname;

-- name: strays
-- The months of rows that no partition took, and how many there are.
SELECT date_trunc('month', received_at AT TIME ZONE 'UTC')::date AS month, count(*) FROM pings_default
GROUP BY 1 ORDER BY 1;
