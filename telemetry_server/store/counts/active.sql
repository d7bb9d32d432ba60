-- name: active_series
-- The dimension $5 of active_days from the day $2 to the day $3, in steps of a day, a week or a month ($4): of each
-- value its copies at the end of the last counted day of the step, or if $6 those of all its days. The values after the
-- $1 most frequent ones are one row, whose value is NULL.
WITH days AS MATERIALIZED (
    SELECT r.day, r.value /*:by*/ AS value, sum(r.installations) AS installations
    FROM active_days AS r
    JOIN products AS p ON p.product_id = r.product_id
    WHERE r.dimension = $5 AND r.day BETWEEN $2 AND $3 AND TRUE /*:filter*/
    GROUP BY 1, 2
), steps AS (
    SELECT date_trunc($4, a.day::timestamp)::date AS step, max(a.day) AS day
    FROM active_days AS a
    JOIN products AS p ON p.product_id = a.product_id
    WHERE a.dimension = 'all' AND a.verdict = '' AND a.day BETWEEN $2 AND $3
    GROUP BY 1
), placed AS (
    SELECT value, row_number() OVER (ORDER BY sum(installations) DESC, value) AS place FROM days GROUP BY value
)
SELECT s.step AS day, CASE WHEN l.place <= $1 THEN d.value END AS value, sum(d.installations)::bigint AS installations
FROM days AS d
JOIN placed AS l USING (value)
JOIN steps AS s ON s.step = date_trunc($4, d.day::timestamp)::date AND (s.day = d.day OR $6::boolean)
GROUP BY 1, 2
ORDER BY 1, bool_or(l.place > $1), 3 DESC, 2;

-- name: active_values
-- The values of the dimension $4 at the end of the day $2, the most frequent first, and how many there were at the end of
-- the day $3; the values after the first $1 are one row, whose value is NULL.
WITH counted AS (
    SELECT r.value /*:by*/ AS value, coalesce(sum(r.installations) FILTER (WHERE r.day = $2), 0) AS installations,
           coalesce(sum(r.installations) FILTER (WHERE r.day = $3), 0) AS before
    FROM active_days AS r
    JOIN products AS p ON p.product_id = r.product_id
    WHERE r.dimension = $4 AND r.day = ANY (ARRAY[$2::date, $3::date]) AND TRUE /*:filter*/
    GROUP BY 1
), placed AS (
    SELECT *, row_number() OVER (ORDER BY installations DESC, before DESC, value) AS place FROM counted
)
SELECT CASE WHEN place <= $1 THEN value END AS value, sum(installations)::bigint AS installations,
       sum(before)::bigint AS before
FROM placed
GROUP BY 1
ORDER BY bool_or(place > $1), 2 DESC, 3 DESC, 1;

-- name: active_totals
-- The copies at the end of each of the days $1 by the dimensions $2, by value and verdict.
SELECT r.day, r.dimension, r.value, r.verdict, sum(r.installations)::bigint AS installations
FROM active_days AS r
JOIN products AS p ON p.product_id = r.product_id
WHERE r.dimension = ANY ($2::text[]) AND r.day = ANY ($1::date[]) AND TRUE /*:filter*/
GROUP BY 1, 2, 3, 4;

-- name: counted_active
-- Up to when pings are in active_days; NULL before the job $1 ran.
SELECT least((SELECT reached_at FROM rollup_marks WHERE name = 'roll up pings'),
             (SELECT last_started_at FROM jobs WHERE name = $1))
WHERE EXISTS (SELECT FROM rollup_marks WHERE name = $1);
