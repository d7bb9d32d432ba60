-- name: keep_fleet
-- Adds the cells of fleet_days in which the installations $1 are counted.
WITH facts AS (
    SELECT d.product_id, d.day, d.verdict, d.pings, s.license_status /*:columns*/
    FROM installation_days AS d
    LEFT JOIN states AS s ON s.installation_id = d.installation_id AND s.state = d.state
    WHERE d.installation_id = ANY ($1::uuid[])
), counted AS MATERIALIZED (
    SELECT product_id, day, verdict, 'status' /*:dimension*/ AS dimension, license_status /*:value*/ AS value,
           count(*) AS installations, sum(pings) AS pings
    FROM facts
    GROUP BY product_id, day, verdict, GROUPING SETS ( license_status /*:sets*/ )
)
INSERT INTO erased_counts AS k (product_id, roll_up, day, dimension, value, verdict, feature, installations, amount)
SELECT product_id, 'fleet', day, dimension, value, verdict, '', sum(installations), sum(pings)
FROM counted
GROUP BY product_id, day, dimension, value, verdict
ON CONFLICT (product_id, roll_up, day, dimension, value, verdict, feature)
DO UPDATE SET installations = k.installations + excluded.installations, amount = k.amount + excluded.amount;

-- name: keep_features
-- Adds the cells of feature_days in which the installations $1 are counted, up to the day $2.
WITH used AS MATERIALIZED (
    SELECT d.product_id, d.day, u.number, u.name, sum(u.uses) AS uses, count(*) AS installations
    FROM installation_days AS d
    CROSS JOIN LATERAL feature_uses(d.counters, d.features) AS u
    WHERE d.installation_id = ANY ($1::uuid[]) AND d.day <= $2 AND u.uses <> 0
    GROUP BY d.product_id, d.day, u.number, u.name
)
INSERT INTO erased_counts AS k (product_id, roll_up, day, dimension, value, verdict, feature, installations, amount)
SELECT u.product_id, 'features', u.day, '', '', '', coalesce(n.name, u.name), sum(u.installations), sum(u.uses)
FROM used AS u
LEFT JOIN feature_names AS n ON n.number = u.number
GROUP BY u.product_id, u.day, coalesce(n.name, u.name)
ON CONFLICT (product_id, roll_up, day, dimension, value, verdict, feature)
DO UPDATE SET installations = k.installations + excluded.installations, amount = k.amount + excluded.amount;

-- name: keep_feature_values
-- The same of feature_value_days; with $3 also that they sent a ping.
WITH ended AS (
    SELECT DISTINCT d.installation_id, d.day, (d.day + 1)::timestamp AT TIME ZONE 'UTC' AS at
    FROM installation_days AS d
    WHERE d.installation_id = ANY ($1::uuid[]) AND d.day <= $2
), lives AS (
    SELECT DISTINCT ON (c.installation_id, e.day) c.installation_id, e.day, c.before
    FROM changes AS c
    JOIN ended AS e ON e.installation_id = c.installation_id AND c.changed_at >= e.at
    WHERE c.installation_id = ANY ($1::uuid[]) AND c.field = 'life'
    ORDER BY c.installation_id, e.day, c.changed_at, c.sequence
), used AS MATERIALIZED (
    SELECT d.product_id, d.day, d.verdict /*:version*/ AS version, d.verdict /*:edition*/ AS edition, d.verdict,
           CASE WHEN coalesce(l.before, f.life) IN ('new', 'returned') THEN coalesce(l.before, f.life) ELSE 'active' END
               AS life,
           u.number, u.name, sum(u.uses) AS uses, count(*) AS installations
    FROM installation_days AS d
    JOIN installation_facts AS f ON f.installation_id = d.installation_id
    LEFT JOIN states AS s ON s.installation_id = d.installation_id AND s.state = d.state
    LEFT JOIN lives AS l ON l.installation_id = d.installation_id AND l.day = d.day
    CROSS JOIN LATERAL (
        SELECT -2 AS number, '' AS name, 0 AS uses WHERE $3::boolean
        UNION ALL
        SELECT e.number, e.name, e.uses FROM feature_uses(d.counters, d.features) AS e WHERE e.uses <> 0
    ) AS u
    WHERE d.installation_id = ANY ($1::uuid[]) AND d.day <= $2
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
), named AS (
    SELECT u.*, CASE WHEN u.number = -2 THEN '' ELSE coalesce(n.name, u.name) END AS feature
    FROM used AS u
    LEFT JOIN feature_names AS n ON n.number = u.number
)
INSERT INTO erased_counts AS k (product_id, roll_up, day, dimension, value, verdict, feature, installations, amount)
SELECT n.product_id, 'feature_values', n.day, v.dimension, v.value, '', n.feature, sum(n.installations), sum(n.uses)
FROM named AS n
CROSS JOIN LATERAL (
    VALUES ('version', n.version), ('edition', n.edition), ('verdict', n.verdict), ('life', n.life)
) AS v (dimension, value)
GROUP BY n.product_id, n.day, v.dimension, v.value, n.feature
ON CONFLICT (product_id, roll_up, day, dimension, value, verdict, feature)
DO UPDATE SET installations = k.installations + excluded.installations, amount = k.amount + excluded.amount;

-- name: keep_active
-- Adds the cells of active_days in which the installations $1 are counted, at the ends of the days from $2 to $3. As
-- the statement count_active finds them, for many days of a few installations.
WITH ended AS MATERIALIZED (
    SELECT i.installation_id, i.last_received_at, g.day::date AS day, (g.day + interval '1 day') AT TIME ZONE 'UTC' AS at
    FROM installations AS i
    CROSS JOIN generate_series($2::date::timestamp, $3::date::timestamp, '1 day') AS g (day)
    WHERE i.installation_id = ANY ($1::uuid[])
), verdicts AS (
    SELECT DISTINCT ON (c.installation_id, e.day) c.installation_id, e.day, c.before
    FROM changes AS c
    JOIN ended AS e ON e.installation_id = c.installation_id AND c.changed_at >= e.at
    WHERE c.installation_id = ANY ($1::uuid[]) AND c.field = 'verdict'
    ORDER BY c.installation_id, e.day, c.changed_at, c.sequence
), lives AS (
    SELECT DISTINCT ON (c.installation_id, e.day) c.installation_id, e.day, c.before
    FROM changes AS c
    JOIN ended AS e ON e.installation_id = c.installation_id AND c.changed_at >= e.at
    WHERE c.installation_id = ANY ($1::uuid[]) AND c.field = 'life'
    ORDER BY c.installation_id, e.day, c.changed_at, c.sequence
), turns AS (
    SELECT DISTINCT ON (c.installation_id, e.day) c.installation_id, e.day, c.after
    FROM changes AS c
    JOIN ended AS e ON e.installation_id = c.installation_id
                   AND c.changed_at >= e.at - interval '1 day' AND c.changed_at < e.at
    WHERE c.installation_id = ANY ($1::uuid[]) AND c.field = 'life' AND c.after IN ('lost', 'returned')
    ORDER BY c.installation_id, e.day, c.changed_at DESC, c.sequence DESC
), reports AS (
    SELECT e.installation_id, e.day, max(d.day) AS reported_on
    FROM ended AS e
    JOIN installation_days AS d ON d.installation_id = e.installation_id AND d.day <= e.day
    WHERE d.installation_id = ANY ($1::uuid[]) AND e.last_received_at >= e.at - interval '10 minutes'
    GROUP BY e.installation_id, e.day
), found AS (
    SELECT f.*, e.day, e.at, r.reported_on, coalesce(v.before, f.verdict) AS verdict_then,
           coalesce(l.before, f.life) AS life_then,
           CASE WHEN f.first_received_at >= e.at - interval '1 day' AND f.first_received_at < e.at THEN 'new'
                ELSE t.after END AS turned,
           make_interval(secs => p.ping_interval_seconds + p.grace_seconds) AS late_after,
           make_interval(secs => greatest(p.ping_interval_seconds + p.grace_seconds, p.lost_after_seconds))
               AS lost_after
    FROM installation_facts AS f
    JOIN ended AS e ON e.installation_id = f.installation_id
    JOIN products AS p ON p.product_id = f.product_id
    LEFT JOIN reports AS r ON r.installation_id = e.installation_id AND r.day = e.day
    LEFT JOIN verdicts AS v ON v.installation_id = e.installation_id AND v.day = e.day
    LEFT JOIN lives AS l ON l.installation_id = e.installation_id AND l.day = e.day
    LEFT JOIN turns AS t ON t.installation_id = e.installation_id AND t.day = e.day
    WHERE f.installation_id = ANY ($1::uuid[])
), lived AS (
    SELECT f.*, CASE WHEN f.life_then NOT IN ('late', 'lost') OR f.reported_on IS NULL THEN f.life_then
                     WHEN f.reported_on::timestamp AT TIME ZONE 'UTC' + f.late_after > f.at THEN 'active'
                     WHEN f.reported_on::timestamp AT TIME ZONE 'UTC' + f.lost_after > f.at THEN 'late'
                     ELSE f.life_then END AS life_at_end
    FROM found AS f
    WHERE f.first_received_at < f.at OR f.reported_on IS NOT NULL
), own_days AS (
    SELECT * FROM installation_days WHERE installation_id = ANY ($1::uuid[])
), own_states AS (
    SELECT * FROM states WHERE installation_id = ANY ($1::uuid[])
), facts AS (
    SELECT f.product_id, f.day AS ended_on, f.verdict_then AS verdict, f.life_at_end /*:columns*/
    FROM lived AS f
    LEFT JOIN own_days AS d ON d.installation_id = f.installation_id AND d.day = f.reported_on
    LEFT JOIN own_states AS s ON s.installation_id = d.installation_id AND s.state = d.state
), counted AS MATERIALIZED (
    SELECT product_id, ended_on, verdict, 'life' /*:dimension*/ AS dimension, life_at_end /*:value*/ AS value,
           count(*) AS installations
    FROM facts
    GROUP BY product_id, ended_on, verdict, GROUPING SETS ( life_at_end /*:sets*/ )
)
INSERT INTO erased_counts AS k (product_id, roll_up, day, dimension, value, verdict, feature, installations, amount)
SELECT product_id, 'active', ended_on, dimension, value, verdict, '', sum(installations), 0
FROM counted
WHERE value IS NOT NULL
GROUP BY product_id, ended_on, dimension, value, verdict
ON CONFLICT (product_id, roll_up, day, dimension, value, verdict, feature)
DO UPDATE SET installations = k.installations + excluded.installations;

-- name: keep_cohorts
-- Adds the cells of cohort_weeks in which the installations $1 are counted.
WITH known AS MATERIALIZED (
    SELECT installation_id, product_id, date_trunc('week', first_received_at AT TIME ZONE 'UTC')::date AS cohort
    FROM installations
    WHERE installation_id = ANY ($1::uuid[])
), seen AS (
    SELECT k.product_id, k.cohort, d.day - (extract(isodow FROM d.day)::integer - 1) AS week, k.installation_id,
           'active' AS dimension
    FROM known AS k
    JOIN installation_days AS d ON d.installation_id = k.installation_id
    WHERE d.installation_id = ANY ($1::uuid[])
    UNION
    SELECT product_id, cohort, cohort, installation_id, 'active' FROM known
    UNION
    SELECT k.product_id, k.cohort, date_trunc('week', c.changed_at AT TIME ZONE 'UTC')::date, k.installation_id, c.after
    FROM known AS k
    JOIN changes AS c ON c.installation_id = k.installation_id
    WHERE c.installation_id = ANY ($1::uuid[]) AND c.field = 'life' AND c.after IN ('lost', 'returned')
)
INSERT INTO erased_counts AS k (product_id, roll_up, day, dimension, value, verdict, feature, installations, amount)
SELECT product_id, 'cohorts', week, dimension, cohort::text, '', '', count(DISTINCT installation_id), 0
FROM seen
WHERE week >= cohort
GROUP BY product_id, week, dimension, cohort
ON CONFLICT (product_id, roll_up, day, dimension, value, verdict, feature)
DO UPDATE SET installations = k.installations + excluded.installations;

-- name: first_day
-- The day of the first ping of the installations $1.
SELECT min(first_received_at AT TIME ZONE 'UTC')::date FROM installations WHERE installation_id = ANY ($1::uuid[]);
