-- name: feature_use
-- The $1 features most used from the day $2 to the day $3, in steps of $4 or in total, by the dimension $5, of which the
-- $6 most frequent values are named: their uses, the highest daily number of installations, and of those that sent a ping,
-- day by day, how many used the feature and how many there were.
WITH days AS MATERIALIZED (
    SELECT r.day, r.value, r.feature, sum(r.uses) AS uses, sum(r.installations) AS installations
    FROM feature_value_days AS r
    WHERE r.dimension = $5 AND r.day BETWEEN $2 AND $3 AND ( r.feature = '' OR TRUE /*:filter*/ ) AND TRUE /*:products*/
    GROUP BY 1, 2, 3
), placed AS (
    SELECT value, row_number() OVER (ORDER BY sum(installations) DESC, value) AS place
    FROM days
    WHERE feature = ''
    GROUP BY value
), spread AS (
    SELECT feature, row_number() OVER (ORDER BY sum(installations) DESC, sum(uses) DESC, feature) AS place
    FROM days
    WHERE feature <> ''
    GROUP BY feature
), named AS MATERIALIZED (
    SELECT d.day, CASE WHEN $7::boolean THEN '' WHEN p.place <= $6 THEN d.value END AS value, d.feature,
           sum(d.uses) AS uses, sum(d.installations) AS installations
    FROM days AS d
    JOIN placed AS p USING (value)
    GROUP BY 1, 2, 3
), reported AS (
    SELECT CASE WHEN $4::text <> 'total' THEN date_trunc($4, n.day::timestamp)::date END AS day, n.value,
           sum(n.installations) AS reports
    FROM named AS n
    WHERE n.feature = ''
    GROUP BY 1, 2
), used AS (
    SELECT CASE WHEN $4 <> 'total' THEN date_trunc($4, n.day::timestamp)::date END AS day, n.value, n.feature,
           sum(n.uses) AS uses, max(n.installations) AS installations, sum(n.installations) AS used_by
    FROM named AS n
    JOIN spread AS s ON s.feature = n.feature AND s.place <= $1
    GROUP BY 1, 2, 3
)
SELECT u.day, u.feature, u.value, least(u.uses, 9223372036854775807)::bigint AS uses,
       u.installations::bigint AS installations, u.used_by::bigint AS used_by, r.reports::bigint AS reports
FROM used AS u
JOIN reported AS r ON r.day IS NOT DISTINCT FROM u.day AND r.value IS NOT DISTINCT FROM u.value
JOIN spread AS s ON s.feature = u.feature
ORDER BY u.day, s.place, u.value IS NULL, u.installations DESC, u.value;
