-- name: is_large
-- Whether there are more than $1 installations.
SELECT EXISTS (SELECT FROM installations OFFSET $1);

-- name: forget_counts
DELETE FROM fleet_now;

-- name: forget_mark
DELETE FROM rollup_marks WHERE name = $1;

-- name: count_installations
-- Installations of each product by each dimension, and by how many of the times that began at $1, the earliest
-- first, they were heard of in. Of a dimension's values beyond the $2 most frequent, the rest is "other".
WITH facts AS (
    SELECT f.product_id, width_bucket(i.last_received_at, $1::timestamptz[]) AS depth, f.verdict /*:columns*/
    FROM installation_facts AS f
    JOIN installations AS i USING (installation_id)
), counted AS MATERIALIZED (
    SELECT product_id, depth, 'verdict' /*:dimension*/ AS dimension, verdict /*:value*/ AS value, count(*) AS count
    FROM facts
    GROUP BY product_id, depth, GROUPING SETS ( verdict /*:sets*/ )
), ranked AS (
    SELECT product_id, dimension, value,
           row_number() OVER (PARTITION BY product_id, dimension ORDER BY sum(count) DESC, value) AS rank
    FROM counted
    GROUP BY product_id, dimension, value
)
INSERT INTO fleet_now (product_id, dimension, value, depth, count)
SELECT c.product_id, c.dimension, CASE WHEN r.rank <= $2::bigint THEN c.value ELSE 'other' END, c.depth,
       sum(c.count)::bigint
FROM counted AS c
JOIN ranked AS r USING (product_id, dimension, value)
GROUP BY 1, 2, 3, 4;

-- name: count_pings_that_never_came
-- Likewise: what never came. Of one copy, no more than a million missing or lost pings are counted.
WITH gaps AS (
    SELECT i.product_id, width_bucket(i.last_received_at, $1::timestamptz[]) AS depth,
           count(*) FILTER (WHERE h.holes) AS with_missing,
           count(*) FILTER (WHERE i.lost > 0) AS with_lost,
           sum(CASE WHEN h.holes THEN least(upper(i.received) - 1
               - (SELECT sum(upper(r) - lower(r)) FROM unnest(i.received) AS r), 1000000) END)::bigint AS missing,
           sum(least(i.lost, 1000000))::bigint AS lost
    FROM installations AS i
    CROSS JOIN LATERAL (SELECT i.received <> int8multirange(int8range(1, upper(i.received))) AS holes) AS h
    GROUP BY 1, 2
)
INSERT INTO fleet_now (product_id, dimension, value, depth, count)
SELECT g.product_id, d.dimension, '', g.depth, d.count
FROM gaps AS g
CROSS JOIN LATERAL (
    VALUES ('with_missing', g.with_missing), ('with_lost', g.with_lost), ('missing', g.missing), ('lost', g.lost)
) AS d (dimension, count)
WHERE d.count > 0;

-- name: count_newcomers
-- New installations since the earliest of $1: by the times their first ping came in, and by its day.
WITH fresh AS (
    SELECT product_id, width_bucket(first_received_at, $1::timestamptz[]) AS depth,
           (first_received_at AT TIME ZONE 'UTC')::date::text AS day, count(*) AS count
    FROM installation_facts
    WHERE first_received_at >= $1[1]
    GROUP BY 1, 2, 3
)
INSERT INTO fleet_now (product_id, dimension, value, depth, count)
SELECT product_id, CASE grouping(depth) WHEN 0 THEN 'new' ELSE 'new_on' END, coalesce(day, ''),
       coalesce(depth, 0), sum(count)::bigint
FROM fresh
GROUP BY product_id, GROUPING SETS ((depth), (day));

-- name: count_pings_by_hour
-- The pings received since $1 by the hour they came in.
INSERT INTO fleet_now (product_id, dimension, value, depth, count)
SELECT i.product_id, 'pings_in', to_char(g.hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24'), 0, sum(g.pings)::bigint
FROM (
    SELECT installation_id, date_trunc('hour', received_at, 'UTC') AS hour, count(*) AS pings
    FROM pings
    WHERE received_at >= $1
    GROUP BY 1, 2
) AS g
JOIN installations AS i USING (installation_id)
GROUP BY 1, 3;

-- name: by_value
-- Installations of the dimension $2 by value, the most frequent first; those after the first $1 as one without
-- a name.
WITH counted AS (
    SELECT r.value /*:by*/ AS value, sum(r.count) AS installations
    FROM fleet_now AS r
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
-- As "totals" of overview.sql, from the counts, of those heard of in at least $2 of the ranges.
SELECT coalesce(sum(r.count) FILTER (WHERE r.dimension = 'all'), 0)::bigint AS known,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'all' AND r.depth >= $2), 0)::bigint AS seen,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'new' AND r.depth >= $2), 0)::bigint AS new,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'with_missing' AND r.depth >= $2), 0)::bigint AS with_missing,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'with_lost' AND r.depth >= $2), 0)::bigint AS with_lost,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'missing' AND r.depth >= $2), 0)::bigint AS missing,
       coalesce(sum(r.count) FILTER (WHERE r.dimension = 'lost' AND r.depth >= $2), 0)::bigint AS lost
FROM fleet_now AS r
JOIN products AS p USING (product_id)
WHERE r.dimension IN ('all', 'new', 'with_missing', 'with_lost', 'missing', 'lost')
  AND ($1::text IS NULL OR p.slug = $1);

-- name: facets
-- As "facets" of installations.sql, from the counts, of those heard of in at least $2 of the ranges, by the
-- dimensions $3.
WITH placed AS (
    SELECT r.dimension, r.value, sum(r.count) AS count,
           row_number() OVER (PARTITION BY r.dimension ORDER BY sum(r.count) DESC, r.value) AS place
    FROM fleet_now AS r
    JOIN products AS p USING (product_id)
    WHERE r.dimension = ANY ($3::text[]) AND r.depth >= $2 AND ($1::text IS NULL OR p.slug = $1)
    GROUP BY r.dimension, r.value
)
SELECT dimension AS field, CASE WHEN place <= 50 THEN value END AS value, sum(count)::bigint AS installations
FROM placed
GROUP BY 1, 2
ORDER BY 1, bool_or(place > 50), 3 DESC, 2;

-- name: over_time
-- The dimension $2, whose values are moments, since $3, by moment.
SELECT r.value, sum(r.count)::bigint AS count
FROM fleet_now AS r
JOIN products AS p USING (product_id)
WHERE r.dimension = $2 AND r.value >= $3 AND ($1::text IS NULL OR p.slug = $1)
GROUP BY 1;
