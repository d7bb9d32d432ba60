-- name: months
-- The first days of the months that have a partition in the table $1.
SELECT to_date(right(c.relname, 7), 'YYYY_MM') AS month
FROM pg_inherits AS h
JOIN pg_class AS c ON c.oid = h.inhrelid
WHERE h.inhparent = $1::text::regclass AND c.relname ~ ('^' || $1 || '_\d{4}_\d{2}$')
ORDER BY 1;

-- name: stray_pings
-- Rows in the default partition, by month.
SELECT date_trunc('month', received_at AT TIME ZONE 'UTC')::date AS month, count(*) FROM pings_default
GROUP BY 1 ORDER BY 1;

-- name: stray_installation_days
SELECT date_trunc('month', day::timestamp)::date AS month, count(*) FROM installation_days_default
GROUP BY 1 ORDER BY 1;

-- name: newest_by_copies
-- The day (UTC) of the newest pings received from $1 until before $2, by the clocks of the copies: the median of
-- each copy's newest ping. NULL without pings.
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
