-- name: mark_active
-- The days of all products from the day $1 to $2 are to be counted, those before a product's first ping excepted.
INSERT INTO active_due (product_id, day, due_since)
SELECT p.product_id, g.day::date, $3::timestamptz
FROM products AS p
CROSS JOIN LATERAL (
    SELECT f.day FROM unnest($4::uuid[], $5::date[]) AS f (product_id, day) WHERE f.product_id = p.product_id
) AS f
CROSS JOIN LATERAL generate_series(greatest(f.day, $1::date)::timestamp, $2::date::timestamp, '1 day') AS g (day)
ORDER BY 1, 2
ON CONFLICT (product_id, day) DO UPDATE SET due_since = active_due.due_since; -- takes the row's lock

-- name: first_days
-- The day of the first ping of each product.
SELECT product_id, min(first_received_at AT TIME ZONE 'UTC')::date AS day FROM installation_facts GROUP BY product_id;

-- name: due_active
-- The days from $1 to $2 that are due, the newest first, with their products: those of more than $3 copies only if they
-- are due since before $5, or before $6 where they are over by the day $4.
SELECT d.day, array_agg(d.product_id ORDER BY d.product_id) AS products
FROM active_due AS d
LEFT JOIN active_days AS a ON a.product_id = d.product_id AND a.day = d.day AND a.dimension = 'all' AND a.value = ''
                          AND a.verdict = ''
WHERE d.day BETWEEN $1 AND $2
  AND (coalesce(a.installations, 0) <= $3 OR d.due_since <= CASE WHEN d.day < $4 THEN $6 ELSE $5::timestamptz END)
GROUP BY d.day
ORDER BY d.day DESC;

-- name: take_active
-- The day is no longer due for these products, unless it is marked again. Waits for transactions that mark it.
DELETE FROM active_due WHERE day = $1 AND product_id = ANY ($2::uuid[]);

-- name: keep_active
-- A day that is not over is due again.
INSERT INTO active_due (product_id, day, due_since)
SELECT product_id, $1::date, $3::timestamptz FROM unnest($2::uuid[]) AS p (product_id) ORDER BY 1
ON CONFLICT (product_id, day) DO UPDATE SET due_since = active_due.due_since; -- takes the row's lock

-- name: count_active
-- Counts the copies of the products $2 at the end of the day $1, the moment $3, by each dimension, for each verdict and
-- for all. The values of a dimension after the $4 most frequent are "other".
--
-- From the present backwards: verdict and life are those before their first change since; where a ping came since, what
-- the copy said of itself is that of the last day with a ping, the months around the day $5 being looked at first.
WITH found AS MATERIALIZED (
    -- MATERIALIZED: its subqueries would be repeated for each dimension.
    SELECT f.*, coalesce(v.before, f.verdict) AS verdict_then, coalesce(l.before, f.life) AS life_then,
           CASE WHEN f.first_received_at >= $3::timestamptz - interval '1 day' AND f.first_received_at < $3 THEN 'new'
                ELSE t.after END AS turned,
           CASE WHEN i.last_received_at >= $3 - interval '10 minutes' THEN coalesce(
               (SELECT max(d.day) FROM installation_days AS d
                WHERE d.installation_id = f.installation_id AND d.day > $5::date AND d.day <= $1::date),
               (SELECT max(d.day) FROM installation_days AS d
                WHERE d.installation_id = f.installation_id AND d.day <= $1)
           ) END AS reported_on,
           make_interval(secs => p.ping_interval_seconds + p.grace_seconds) AS late_after,
           make_interval(secs => greatest(p.ping_interval_seconds + p.grace_seconds, p.lost_after_seconds))
               AS lost_after
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    JOIN products AS p ON p.product_id = f.product_id
    LEFT JOIN (
        SELECT DISTINCT ON (c.installation_id) c.installation_id, c.before
        FROM changes AS c
        WHERE c.field = 'verdict' AND c.changed_at >= $3
        ORDER BY c.installation_id, c.changed_at, c.sequence
    ) AS v ON v.installation_id = f.installation_id
    LEFT JOIN (
        SELECT DISTINCT ON (c.installation_id) c.installation_id, c.before
        FROM changes AS c
        WHERE c.field = 'life' AND c.changed_at >= $3
        ORDER BY c.installation_id, c.changed_at, c.sequence
    ) AS l ON l.installation_id = f.installation_id
    LEFT JOIN (
        SELECT DISTINCT ON (c.installation_id) c.installation_id, c.after
        FROM changes AS c
        WHERE c.field = 'life' AND c.after IN ('lost', 'returned') AND c.changed_at >= $3 - interval '1 day'
          AND c.changed_at < $3
        ORDER BY c.installation_id, c.changed_at DESC, c.sequence DESC
    ) AS t ON t.installation_id = f.installation_id
    WHERE f.product_id = ANY ($2::uuid[])
), lived AS (
    -- A silence in which the copy did report, as late pings showed, was none.
    SELECT f.*, CASE WHEN f.life_then NOT IN ('late', 'lost') OR f.reported_on IS NULL THEN f.life_then
                     WHEN f.reported_on::timestamp AT TIME ZONE 'UTC' + f.late_after > $3 THEN 'active'
                     WHEN f.reported_on::timestamp AT TIME ZONE 'UTC' + f.lost_after > $3 THEN 'late'
                     ELSE f.life_then END AS life_at_end
    FROM found AS f
    WHERE f.first_received_at < $3 OR f.reported_on IS NOT NULL
), facts AS (
    SELECT f.product_id, f.verdict_then AS verdict, f.life_at_end /*:columns*/
    FROM lived AS f
    LEFT JOIN LATERAL (
        SELECT d.state, d.claim_mismatch, d.source_mismatch
        FROM installation_days AS d
        WHERE d.day = f.reported_on AND d.installation_id = f.installation_id AND TRUE /*:fence*/
    ) AS d ON TRUE
    LEFT JOIN LATERAL (
        SELECT s.*
        FROM states AS s
        WHERE s.installation_id = f.installation_id AND s.state = d.state AND TRUE /*:fence*/
    ) AS s ON TRUE
), counted AS MATERIALIZED (
    SELECT product_id, verdict, 'life' /*:dimension*/ AS dimension, life_at_end /*:value*/ AS value,
           count(*) AS installations
    FROM facts
    GROUP BY product_id, verdict, GROUPING SETS ( life_at_end /*:sets*/ )
    UNION ALL
    SELECT e.product_id, e.verdict, e.dimension, e.value, e.installations
    FROM erased_counts AS e
    WHERE e.roll_up = 'active' AND e.day = $1 AND e.product_id = ANY ($2::uuid[])
), ranked AS (
    SELECT product_id, dimension, value,
           row_number() OVER (PARTITION BY product_id, dimension ORDER BY sum(installations) DESC, value) AS rank
    FROM counted
    WHERE value IS NOT NULL
    GROUP BY product_id, dimension, value
), named AS (
    SELECT c.product_id, c.dimension, CASE WHEN r.rank <= $4::bigint THEN c.value ELSE 'other' END AS value,
           c.verdict, c.installations
    FROM counted AS c
    JOIN ranked AS r USING (product_id, dimension, value)
    UNION ALL
    SELECT c.product_id, n.dimension, n.value, c.verdict, c.installations
    FROM counted AS c
    CROSS JOIN LATERAL (VALUES ('all', ''), ('verdict', c.verdict)) AS n (dimension, value)
    WHERE c.dimension = 'life' AND c.value <> 'lost'
), fresh AS MATERIALIZED (
    SELECT product_id, dimension, value, coalesce(verdict, '') AS verdict,
           sum(installations)::bigint AS installations
    FROM named
    GROUP BY product_id, dimension, value, GROUPING SETS ((verdict), ())
), gone AS (
    DELETE FROM active_days AS a
    WHERE a.day = $1 AND a.product_id = ANY ($2::uuid[])
      AND NOT EXISTS (SELECT FROM fresh AS n WHERE n.product_id = a.product_id AND n.dimension = a.dimension
                                               AND n.value = a.value AND n.verdict = a.verdict)
)
INSERT INTO active_days AS a (product_id, day, dimension, value, verdict, installations)
SELECT product_id, $1, dimension, value, verdict, installations FROM fresh
ON CONFLICT (product_id, dimension, verdict, day, value)
DO UPDATE SET installations = excluded.installations
WHERE a.installations <> excluded.installations;

-- name: count_feature_values
-- Counts the uses of each feature of the products $2 on the day $1, which ends at $3, again, and the installations that
-- used it, by version, edition, verdict and life; without a feature all that sent a ping. The values of a dimension after
-- the $4 most frequent are "other"; features after the $5 most widespread are left out.
WITH used AS MATERIALIZED (
    -- Each installation is in one group of a feature: groups add up.
    SELECT d.product_id, d.verdict /*:version*/ AS version, d.verdict /*:edition*/ AS edition, d.verdict,
           CASE WHEN coalesce(l.before, f.life) IN ('new', 'returned') THEN coalesce(l.before, f.life) ELSE 'active' END
               AS life,
           u.number, u.name, sum(u.uses) AS uses, count(*) AS installations
    FROM installation_days AS d
    JOIN installation_facts AS f ON f.installation_id = d.installation_id
    LEFT JOIN states AS s ON s.installation_id = d.installation_id AND s.state = d.state
    LEFT JOIN (
        SELECT DISTINCT ON (c.installation_id) c.installation_id, c.before
        FROM changes AS c
        WHERE c.field = 'life' AND c.changed_at >= $3::timestamptz
        ORDER BY c.installation_id, c.changed_at, c.sequence
    ) AS l ON l.installation_id = d.installation_id
    CROSS JOIN LATERAL (
        SELECT -2 AS number, '' AS name, 0 AS uses
        UNION ALL
        SELECT e.number, e.name, e.uses FROM feature_uses(d.counters, d.features) AS e WHERE e.uses <> 0
    ) AS u
    WHERE d.day = $1 AND d.product_id = ANY ($2::uuid[])
    GROUP BY 1, 2, 3, 4, 5, 6, 7
), named AS MATERIALIZED (
    SELECT u.*, CASE WHEN u.number = -2 THEN '' ELSE coalesce(n.name, u.name) END AS feature
    FROM used AS u
    LEFT JOIN feature_names AS n ON n.number = u.number
), features AS (
    SELECT product_id, feature, row_number() OVER (PARTITION BY product_id
                                                   ORDER BY feature = '' DESC, sum(installations) DESC, feature) AS rank
    FROM named
    GROUP BY product_id, feature
), present AS (
    SELECT n.product_id, v.dimension, v.value, n.feature, sum(n.uses) AS uses, sum(n.installations) AS installations
    FROM named AS n
    JOIN features AS r ON r.product_id = n.product_id AND r.feature = n.feature AND r.rank <= $5::bigint + 1
    CROSS JOIN LATERAL (
        VALUES ('version', n.version), ('edition', n.edition), ('verdict', n.verdict), ('life', n.life)
    ) AS v (dimension, value)
    GROUP BY n.product_id, v.dimension, v.value, n.feature
), erased AS (
    SELECT e.product_id, e.dimension, e.value, e.feature, e.amount AS uses, e.installations
    FROM erased_counts AS e
    WHERE e.roll_up = 'feature_values' AND e.day = $1 AND e.product_id = ANY ($2::uuid[])
), counted AS MATERIALIZED (
    SELECT product_id, dimension, value, feature, sum(uses) AS uses, sum(installations) AS installations
    FROM (SELECT * FROM present UNION ALL SELECT * FROM erased) AS both_of_them
    GROUP BY product_id, dimension, value, feature
), placed AS (
    SELECT product_id, dimension, value,
           row_number() OVER (PARTITION BY product_id, dimension ORDER BY installations DESC, value) AS rank
    FROM counted
    WHERE feature = ''
), fresh AS MATERIALIZED (
    SELECT c.product_id, c.dimension, CASE WHEN p.rank <= $4::bigint THEN c.value ELSE 'other' END AS value, c.feature,
           sum(c.uses) AS uses, sum(c.installations)::bigint AS installations
    FROM counted AS c
    JOIN placed AS p ON p.product_id = c.product_id AND p.dimension = c.dimension AND p.value = c.value
    GROUP BY 1, 2, 3, 4
), gone AS (
    DELETE FROM feature_value_days AS a
    WHERE a.day = $1 AND a.product_id = ANY ($2::uuid[])
      AND NOT EXISTS (SELECT FROM fresh AS n WHERE n.product_id = a.product_id AND n.dimension = a.dimension
                                               AND n.value = a.value AND n.feature = a.feature)
)
INSERT INTO feature_value_days AS a (product_id, day, dimension, value, feature, uses, installations)
SELECT product_id, $1, dimension, value, feature, uses, installations FROM fresh
ON CONFLICT (product_id, dimension, day, value, feature)
DO UPDATE SET (uses, installations) = (excluded.uses, excluded.installations)
WHERE (a.uses, a.installations) <> (excluded.uses, excluded.installations);

-- name: replace_operators
-- The network operators of all installations: their names, and how many installations each has.
WITH named AS MATERIALIZED (
    SELECT f.asn, max(left(s.organisation, 256)) AS organisation, count(*) AS installations
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    LEFT JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
    WHERE f.asn <> 'unknown'
    GROUP BY f.asn
), gone AS (
    DELETE FROM operators AS o
    WHERE NOT EXISTS (SELECT FROM named AS n WHERE n.asn = o.asn AND n.organisation <> '')
)
INSERT INTO operators (asn, organisation, installations)
SELECT asn, organisation, installations FROM named WHERE organisation <> ''
ON CONFLICT (asn) DO UPDATE SET (organisation, installations) = (excluded.organisation, excluded.installations);
