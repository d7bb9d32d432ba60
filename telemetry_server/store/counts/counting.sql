-- name: rolled_up
-- The dimension $5 of fleet_days from the day $2 to the day $3, in steps of a day, a week or a month ($4): of
-- each value the pings of the step, and its highest daily number of installations. The values after the $1
-- most frequent ones are one row, whose value is NULL.
WITH days AS MATERIALIZED (
    SELECT r.day, r.value /*:by*/ AS value, sum(r.installations) AS installations, sum(r.pings) AS pings
    FROM fleet_days AS r
    JOIN products AS p ON p.product_id = r.product_id
    WHERE r.dimension = $5 AND r.day BETWEEN $2 AND $3 AND TRUE /*:filter*/
    GROUP BY 1, 2
), placed AS (
    SELECT value, row_number() OVER (ORDER BY sum(installations) DESC, value) AS place FROM days GROUP BY value
), named AS (
    SELECT d.day, CASE WHEN l.place <= $1 THEN d.value END AS value, sum(d.installations) AS installations,
           sum(d.pings) AS pings
    FROM days AS d
    JOIN placed AS l USING (value)
    GROUP BY 1, 2
)
SELECT date_trunc($4, day::timestamp)::date AS day, value, max(installations)::bigint AS installations,
       sum(pings)::bigint AS pings
FROM named
GROUP BY 1, 2
ORDER BY 1, named.value IS NULL, 3 DESC, 2;

-- name: day_by_day
-- The same for what no roll-up has, from the installations of each day.
WITH days AS MATERIALIZED (
    SELECT d.day, d.verdict /*:by*/ AS value, count(*) AS installations, sum(d.pings) AS pings
    FROM installation_days AS d
    LEFT JOIN states AS s ON s.installation_id = d.installation_id AND s.state = d.state
    LEFT JOIN products AS p ON p.product_id = d.product_id
    WHERE d.day BETWEEN $2 AND $3 AND TRUE /*:filter*/
    GROUP BY 1, 2
), placed AS (
    SELECT value, row_number() OVER (ORDER BY sum(installations) DESC, value) AS place FROM days GROUP BY value
), named AS (
    SELECT d.day, CASE WHEN l.place <= $1 THEN d.value END AS value, sum(d.installations) AS installations,
           sum(d.pings) AS pings
    FROM days AS d
    JOIN placed AS l USING (value)
    GROUP BY 1, 2
)
SELECT date_trunc($4, day::timestamp)::date AS day, value, max(installations)::bigint AS installations,
       sum(pings)::bigint AS pings
FROM named
GROUP BY 1, 2
ORDER BY 1, named.value IS NULL, 3 DESC, 2;

-- name: features
-- The $1 features most used from the day $2 to the day $3, in steps of $4 or in total: their uses, and the highest
-- daily number of installations. One copy may report any number of uses: the sum is limited to a bigint.
WITH days AS MATERIALIZED (
    SELECT r.day, r.feature, sum(r.uses) AS uses, sum(r.installations) AS installations
    FROM feature_days AS r
    WHERE r.day BETWEEN $2 AND $3 AND TRUE /*:filter*/
    GROUP BY 1, 2
), placed AS (
    SELECT feature, row_number() OVER (ORDER BY sum(uses) DESC, feature) AS place FROM days GROUP BY feature
)
SELECT CASE WHEN $4::text <> 'total' THEN date_trunc($4, d.day::timestamp)::date END AS day, d.feature,
       least(sum(d.uses), 9223372036854775807)::bigint AS uses, max(d.installations)::bigint AS installations
FROM days AS d
JOIN placed AS l USING (feature)
WHERE l.place <= $1
GROUP BY 1, 2
ORDER BY 1, 3 DESC, 2;

-- name: cohorts
-- By week of the first ping, from the week of $1 to that of $2: the number of installations that were active, were
-- lost and returned in each week.
SELECT r.cohort, r.week, sum(r.active)::bigint AS active, sum(r.lost)::bigint AS lost,
       sum(r.returned)::bigint AS returned
FROM cohort_weeks AS r
WHERE r.cohort BETWEEN date_trunc('week', $1::timestamp)::date AND $2 AND TRUE /*:filter*/
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: counted_until
-- Up to when pings are in the counts of days, or if $1 in those of weeks, which are counted less often.
-- While a day waits to be counted, pings since the run before the one that found it changed are not counted. Pings
-- that were committed late are counted within a quarter of an hour.
SELECT least(
    (SELECT reached_at FROM rollup_marks WHERE name = 'roll up pings'),
    (SELECT min(due_since) - interval '1 minute' FROM days_due),
    (SELECT last_started_at FROM jobs WHERE name = 'roll up cohorts' AND $1)
)
WHERE EXISTS (SELECT FROM rollup_marks WHERE name = 'roll up pings');
