-- name: months
-- The partitions of the table $1, but for the default one.
SELECT c.relname
FROM pg_inherits AS h
JOIN pg_class AS c ON c.oid = h.inhrelid
WHERE h.inhparent = $1::text::regclass AND c.relname <> $1 || '_default'
ORDER BY c.relname;

-- name: stray_pings
-- The months of rows that no partition took, and how many there are.
SELECT date_trunc('month', received_at AT TIME ZONE 'UTC')::date AS month, count(*) FROM pings_default
GROUP BY 1 ORDER BY 1;

-- name: stray_installation_days
SELECT date_trunc('month', day::timestamp)::date AS month, count(*) FROM installation_days_default
GROUP BY 1 ORDER BY 1;

-- name: told
-- The day (UTC) of the newest pings that were received from $1 until before $2, by the copies' own clocks: of each
-- copy its newest, and of the copies the middle one.
SELECT (percentile_disc(0.5) WITHIN GROUP (ORDER BY c.newest) AT TIME ZONE 'UTC')::date
FROM (
    SELECT g.installation_id, max(g.occurred_at) AS newest
    FROM (
        SELECT installation_id, occurred_at
        FROM pings
        WHERE received_at >= $1::timestamptz AND received_at < $2::timestamptz
        ORDER BY received_at DESC
        LIMIT 1000
    ) AS g
    GROUP BY g.installation_id
) AS c;
