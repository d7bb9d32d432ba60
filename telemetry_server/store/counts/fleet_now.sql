-- name: is_large
-- Whether there are more than $1 installations.
SELECT count(*) > $1 FROM (SELECT installation_id FROM installations LIMIT $1::bigint + 1) AS counted;

-- name: forget_counts
DELETE FROM fleet_now;

-- name: forget_mark
DELETE FROM rollup_marks WHERE name = $1;

-- name: when_counted
-- When the job $1 counted the fleet, and whether it counted the products that match the filter: one of them, or none
-- has an installation. ORDER BY lets an index answer at once, also where there is none.
SELECT (SELECT reached_at FROM rollup_marks WHERE name = $1) AS reached_at,
       (SELECT r.product_id FROM fleet_now AS r WHERE r.dimension = $2 AND TRUE /*:filter*/ LIMIT 1) IS NOT NULL
       OR (SELECT r.installation_id FROM installations AS r WHERE TRUE /*:filter*/
           ORDER BY r.product_id, r.installation_id LIMIT 1) IS NULL AS counted;

-- name: keep_counts
-- Stores the rows of one of the next three statements. The values of a dimension after the $1 most frequent are "other".
WITH counted AS MATERIALIZED (
    SELECT r.product_id, r.dimension, r.value, r.depth, r.count FROM fleet_now /*:counts*/ AS r
), ranked AS (
    SELECT product_id, dimension, value,
           row_number() OVER (PARTITION BY product_id, dimension ORDER BY sum(count) DESC, value) AS rank
    FROM counted
    GROUP BY product_id, dimension, value
)
INSERT INTO fleet_now (product_id, dimension, value, depth, count)
SELECT c.product_id, c.dimension, CASE WHEN r.rank <= $1::bigint THEN c.value ELSE 'other' END, c.depth,
       sum(c.count)::bigint
FROM counted AS c
JOIN ranked AS r USING (product_id, dimension, value)
GROUP BY 1, 2, 3, 4;

-- name: installations_by_value
-- Number of installations that match the filter, by product, dimension and value.
WITH facts AS (
    SELECT f.product_id, 0 AS depth, f.verdict /*:columns*/
    FROM installation_facts AS f
    LEFT JOIN installations AS i ON i.installation_id = f.installation_id
    WHERE TRUE /*:filter*/
)
SELECT product_id, 'verdict' /*:dimension*/ AS dimension, verdict /*:value*/ AS value, depth, count(*) AS count
FROM facts
GROUP BY product_id, depth, GROUPING SETS ( verdict /*:sets*/ );

-- name: installations_by_gaps
-- How many there are by depth, in how many of the ranges that began at the given moments, the earliest first, they
-- were last seen; how many are new by depth; and how many of their pings are missing or lost: a million per copy at
-- most.
WITH gaps AS (
    SELECT i.product_id, width_bucket(i.last_received_at, ARRAY[now()] /*:begins*/ ) AS depth,
           width_bucket(i.first_received_at, ARRAY[now()] /*:begins*/ ) AS new_depth, count(*) AS "all",
           count(*) FILTER (WHERE h.holes) AS with_missing,
           count(*) FILTER (WHERE i.lost > 0) AS with_lost,
           sum(CASE WHEN h.holes THEN least(upper(i.received) - 1
               - (SELECT sum(upper(r) - lower(r)) FROM unnest(i.received) AS r), 1000000) END)::bigint AS missing,
           sum(least(i.lost, 1000000))::bigint AS lost
    FROM installations AS i
    CROSS JOIN LATERAL (SELECT i.received <> int8multirange(int8range(1, upper(i.received))) AS holes) AS h
    WHERE TRUE /*:filter*/
    GROUP BY 1, 2, 3
)
SELECT g.product_id, d.dimension, '' AS value, d.depth, d.count
FROM gaps AS g
CROSS JOIN LATERAL (
    VALUES ('all', g.depth, g."all"), ('with_missing', g.depth, g.with_missing), ('with_lost', g.depth, g.with_lost),
           ('missing', g.depth, g.missing), ('lost', g.depth, g.lost), ('new', nullif(g.new_depth, 0), g."all")
) AS d (dimension, depth, count)
WHERE d.count > 0 AND d.depth IS NOT NULL;

-- name: pings_by_hour
-- The pings received since an hour, by the hour of their receipt.
SELECT i.product_id, 'pings_in' AS dimension,
       to_char(date_trunc('hour', g.received_at, 'UTC') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24') AS value, 0 AS depth,
       count(*) AS count
FROM pings AS g
JOIN installations AS i ON i.installation_id = g.installation_id
WHERE g.received_at >= now() /*:hours_since*/ AND TRUE /*:filter*/
GROUP BY i.product_id, date_trunc('hour', g.received_at, 'UTC');

-- name: by_value
-- Installations of the dimension $2 by value, the most frequent first; the values after the first $1 are one row,
-- whose value is NULL.
WITH counted AS (
    SELECT r.value /*:by*/ AS value, sum(r.count) AS installations
    FROM fleet_now /*:counts*/ AS r
    JOIN products AS p ON p.product_id = r.product_id
    WHERE r.dimension = $2 AND TRUE /*:filter*/
    GROUP BY 1
), placed AS (
    SELECT value, installations, row_number() OVER (ORDER BY installations DESC, value) AS place FROM counted
)
SELECT NULL::date AS day, CASE WHEN place <= $1 THEN value END AS value,
       sum(installations)::bigint AS installations, NULL::bigint AS pings
FROM placed
GROUP BY 2
ORDER BY bool_or(place > $1), 3 DESC, 2;

-- name: totals
-- The totals of the fleet: known; seen, new and with gaps, each with a depth of at least $2.
SELECT coalesce(sum(r.count) FILTER (WHERE r.dimension = 'all'), 0)::bigint AS known,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'all' AND r.depth >= $2), 0)::bigint AS seen,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'new' AND r.depth >= $2), 0)::bigint AS new,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'with_missing' AND r.depth >= $2), 0)::bigint AS with_missing,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'with_lost' AND r.depth >= $2), 0)::bigint AS with_lost,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'missing' AND r.depth >= $2), 0)::bigint AS missing,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'lost' AND r.depth >= $2), 0)::bigint AS lost
FROM fleet_now /*:counts*/ AS r
JOIN products AS p USING (product_id)
WHERE r.dimension IN ('all', 'new', 'with_missing', 'with_lost', 'missing', 'lost')
  AND ($1::text IS NULL OR p.slug = $1);

-- name: over_time
-- The dimension $2, whose values are moments, by moment since $3.
SELECT r.value, sum(r.count)::bigint AS count
FROM fleet_now /*:counts*/ AS r
JOIN products AS p USING (product_id)
WHERE r.dimension = $2 AND r.value >= $3 AND ($1::text IS NULL OR p.slug = $1)
GROUP BY 1;
