-- name: begin
-- First in a transaction: only one at a time counts of the kind $1. Plans are custom and use hash joins: by its
-- statistics of a day that has just begun, the planner would choose nested loops, and merge joins on the few values
-- of a dimension.
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
       set_config('enable_nestloop', 'off', true),
       set_config('enable_mergejoin', 'off', true), pg_advisory_xact_lock($1);

-- name: first_received_at
-- When the oldest stored ping was received.
SELECT received_at FROM pings ORDER BY received_at LIMIT 1;

-- name: last_received_at
-- When the newest was.
SELECT received_at FROM pings ORDER BY received_at DESC LIMIT 1;

-- name: lock_mark
SELECT reached_at FROM rollup_marks WHERE name = $1 FOR UPDATE;

-- name: next_slice
-- The first $3 pings received from $1 until before $2, or fewer: their number, that of their installations, when the
-- last one was received, and the months of their days from $4 to $5.
SELECT count(*) AS pings, count(DISTINCT s.installation_id) AS installations,
       max(s.received_at) AS last_received_at,
       coalesce(array_agg(DISTINCT date_trunc('month', s.day::timestamp)::date)
                FILTER (WHERE s.day BETWEEN $4 AND $5), '{}') AS months
FROM (
    SELECT g.received_at, g.installation_id,
           day_of_ping(g.received_at, g.occurred_at, g.time_suspect) AS day
    FROM pings AS g
    WHERE g.received_at >= $1 AND g.received_at < $2
    ORDER BY g.received_at
    LIMIT $3
) AS s;

-- name: fleet_size
-- An estimate of the number of installations: by the statistics, which on a cluster other nodes have, or as the job
-- "count the fleet" counted a large fleet.
SELECT greatest((SELECT reltuples FROM pg_class WHERE oid = 'installations'::regclass),
                (SELECT sum(count) FROM fleet_now WHERE dimension = 'all'), 0)::bigint;

-- name: roll_up_pings
-- Counts again the days of the pings received from $1 until before $2, each from all pings of its installation
-- received before $3; only days from $5 to $6, and counters only from $7 on. The product's day of a changed row is
-- due since $8, and for active_days those that end before the copy's next day. Returns the number of changed rows.
--
-- The pings of near days, from $4 on, are found by reading all that were received since; those of far days in the
-- history of each installation. The last ping of a day is that with the highest number. A copy with more than 1000
-- features in a day invents names: they become one, "other".
--
-- Counters are summed per copy, in memory: a third of the time of summing those of all copies by name, which is
-- done for the few copies with more than about 8,000 of them. A sum that counters cannot hold is in features.
WITH touched AS MATERIALIZED (
    SELECT DISTINCT g.installation_id, day_of_ping(g.received_at, g.occurred_at, g.time_suspect) AS day
    FROM pings AS g
    WHERE g.received_at >= $1 AND g.received_at < $2
), near AS (
    SELECT installation_id, day FROM touched WHERE day >= $4::date AND day BETWEEN $5 AND $6
), far AS (
    SELECT installation_id, array_agg(day) AS days,
           min(day)::timestamp AT TIME ZONE 'UTC' - interval '10 minutes' AS since
    FROM touched
    WHERE day < $4 AND day BETWEEN $5 AND $6
    GROUP BY installation_id
), reported AS MATERIALIZED (
    SELECT n.installation_id, n.day, g.sequence, g.state, coalesce(verdict_of(g.verdict_code), g.verdict) AS verdict,
           g.claim_mismatch, g.source_mismatch,
           CASE WHEN n.day >= $7 THEN nullif(g.counters, '\x11') END AS counters,
           CASE WHEN n.day >= $7 THEN nullif(g.features, '{}') END AS features
    FROM pings AS g
    JOIN near AS n ON n.installation_id = g.installation_id
                  AND n.day = day_of_ping(g.received_at, g.occurred_at, g.time_suspect)
    WHERE g.received_at >= $4::timestamp AT TIME ZONE 'UTC' - interval '10 minutes' AND g.received_at < $3
    UNION ALL
    SELECT f.installation_id, g.day, g.sequence, g.state, coalesce(verdict_of(g.verdict_code), g.verdict),
           g.claim_mismatch, g.source_mismatch,
           CASE WHEN g.day >= $7 THEN nullif(g.counters, '\x11') END,
           CASE WHEN g.day >= $7 THEN nullif(g.features, '{}') END
    FROM far AS f
    CROSS JOIN LATERAL (
        SELECT h.*, day_of_ping(h.received_at, h.occurred_at, h.time_suspect) AS day
        FROM pings AS h
        WHERE h.installation_id = f.installation_id AND h.received_at >= f.since AND h.received_at < $3
          AND TRUE /*:fence*/
    ) AS g
    WHERE g.day = ANY (f.days)
), last AS MATERIALIZED (
    SELECT DISTINCT ON (installation_id, day)
           *, count(*) OVER w AS pings,
           sum(coalesce(length(counters), 0) / 3 + coalesce(pg_column_size(features), 0) / 32) OVER w > 8192
               AS many_counters
    FROM reported
    WINDOW w AS (PARTITION BY installation_id, day)
    ORDER BY installation_id, day, sequence DESC
), few AS (
    -- Ordered, so that it is sorted, with bounded memory, and not hashed.
    SELECT t.installation_id, t.day, array_agg(t.counters ORDER BY t.sequence) AS counters,
           array_agg(t.features ORDER BY t.sequence) AS features
    FROM reported AS t
    JOIN last AS l ON l.installation_id = t.installation_id AND l.day = t.day
                  AND l.pings > 1 AND NOT l.many_counters
    WHERE num_nonnulls(t.counters, t.features) > 0
    GROUP BY t.installation_id, t.day
), numbers AS MATERIALIZED (
    -- Of the names in features; one query for all pings of earlier versions.
    SELECT coalesce(jsonb_object_agg(n.name, n.number), '{}') AS named
    FROM feature_names AS n
    WHERE n.name IN (SELECT e.name FROM reported AS t CROSS JOIN LATERAL jsonb_object_keys(t.features) AS e (name)
                     WHERE t.features IS NOT NULL)
), used AS MATERIALIZED (
    SELECT t.installation_id, t.day, u.number, u.name, sum(u.uses) AS uses,
           u.number >= 0 AND sum(u.uses) < 2147483648 AS fits
    FROM reported AS t
    JOIN last AS l ON l.installation_id = t.installation_id AND l.day = t.day
                  AND l.pings > 1 AND l.many_counters
    CROSS JOIN numbers AS m
    CROSS JOIN LATERAL feature_uses(t.counters, t.features, m.named) AS u
    GROUP BY t.installation_id, t.day, u.number, u.name
), crowded AS (
    SELECT installation_id, day, true AS crowded FROM used GROUP BY installation_id, day HAVING count(*) > 1000
), summed AS (
    SELECT f.installation_id, f.day, s.counters, s.features
    FROM few AS f
    CROSS JOIN numbers AS m
    CROSS JOIN LATERAL (
        SELECT CASE WHEN count(*) <= 1000 THEN counters_of(array_agg(u.number) FILTER (WHERE u.fits),
                                                           array_agg(u.uses::bigint) FILTER (WHERE u.fits)) END AS counters,
               CASE WHEN count(*) > 1000 THEN jsonb_build_object('other', sum(u.uses))
                    ELSE jsonb_object_agg(coalesce(n.name, u.name), u.uses) FILTER (WHERE NOT u.fits) END AS features
        FROM (
            SELECT e.number, e.name, sum(e.uses) AS uses, e.number >= 0 AND sum(e.uses) < 2147483648 AS fits
            FROM unnest(f.counters, f.features) AS c (counters, features)
            CROSS JOIN LATERAL feature_uses(c.counters, c.features, m.named) AS e
            GROUP BY e.number, e.name
        ) AS u
        LEFT JOIN feature_names AS n ON n.number = u.number AND NOT u.fits
    ) AS s
    UNION ALL
    SELECT u.installation_id, u.day,
           counters_of(array_agg(u.number) FILTER (WHERE u.fits AND c.crowded IS NULL),
                       array_agg(u.uses::bigint) FILTER (WHERE u.fits AND c.crowded IS NULL)),
           CASE WHEN bool_or(c.crowded) THEN jsonb_build_object('other', sum(u.uses))
                ELSE jsonb_object_agg(coalesce(n.name, u.name), u.uses)
                     FILTER (WHERE NOT u.fits AND c.crowded IS NULL) END
    FROM used AS u
    LEFT JOIN crowded AS c USING (installation_id, day)
    LEFT JOIN feature_names AS n ON n.number = u.number AND NOT u.fits
    GROUP BY u.installation_id, u.day
), written AS (
    INSERT INTO installation_days AS d (
        day, installation_id, product_id, state, verdict, claim_mismatch, source_mismatch, pings, counters, features
    )
    SELECT l.day, p.installation_id, p.product_id, l.state,
           coalesce(l.verdict, (
               SELECT CASE WHEN s.license_key_hash IS NULL THEN 'no_key' ELSE 'unknown_key' END
               FROM states AS s
               WHERE s.installation_id = p.installation_id AND s.state = l.state
           ), 'no_key'),
           coalesce(l.claim_mismatch, false), coalesce(l.source_mismatch, false), l.pings,
           CASE WHEN l.pings = 1 THEN l.counters ELSE s.counters END,
           CASE WHEN l.pings = 1 THEN l.features ELSE s.features END
    FROM last AS l
    CROSS JOIN LATERAL (
        SELECT i.installation_id, i.product_id FROM installations AS i
        WHERE i.installation_id = l.installation_id AND TRUE /*:fence*/
    ) AS p
    LEFT JOIN summed AS s ON s.installation_id = l.installation_id AND s.day = l.day
    ORDER BY l.installation_id, l.day
    ON CONFLICT (day, installation_id) DO UPDATE SET
        (product_id, state, verdict, claim_mismatch, source_mismatch, pings, counters, features)
        = (excluded.product_id, excluded.state, excluded.verdict, excluded.claim_mismatch,
           excluded.source_mismatch, excluded.pings, excluded.counters, excluded.features)
    WHERE (d.product_id, d.state, d.verdict, d.claim_mismatch, d.source_mismatch, d.pings, d.counters, d.features)
          IS DISTINCT FROM
          (excluded.product_id, excluded.state, excluded.verdict, excluded.claim_mismatch,
           excluded.source_mismatch, excluded.pings, excluded.counters, excluded.features)
    RETURNING product_id, day, installation_id
), due AS (
    INSERT INTO days_due (product_id, day, due_since)
    SELECT DISTINCT product_id, day, $8::timestamptz FROM written ORDER BY product_id, day
    ON CONFLICT (product_id, day) DO UPDATE SET due_since = days_due.due_since -- takes the row's lock
), late AS (
    SELECT w.product_id, w.installation_id, w.day, ($8 AT TIME ZONE 'UTC')::date AS today
    FROM written AS w
    WHERE w.day <= ($8 AT TIME ZONE 'UTC')::date
), followed AS (
    SELECT l.installation_id, l.day, min(n.day) AS next_day
    FROM late AS l
    CROSS JOIN LATERAL (
        SELECT n.day FROM installation_days AS n
        WHERE n.installation_id = l.installation_id AND n.day > l.day AND TRUE /*:fence*/
    ) AS n
    WHERE l.day < l.today - 1
    GROUP BY l.installation_id, l.day
), ended AS (
    -- What was last known at the end of a day: until the next day with a ping, or the copy is lost.
    INSERT INTO active_due (product_id, day, due_since)
    SELECT DISTINCT l.product_id, l.day + g.days, $8
    FROM (
        SELECT l.product_id, l.day, l.today,
               least(f.next_day, lead(l.day) OVER (PARTITION BY l.installation_id ORDER BY l.day)) AS next_day
        FROM late AS l
        LEFT JOIN followed AS f USING (installation_id, day)
    ) AS l
    JOIN products AS p USING (product_id)
    CROSS JOIN LATERAL generate_series(0, least(
        l.next_day - 1, l.today,
        l.day + 1 + greatest(p.ping_interval_seconds + p.grace_seconds, p.lost_after_seconds) / 86400
    ) - l.day) AS g (days)
    ORDER BY 1, 2
    ON CONFLICT (product_id, day) DO UPDATE SET due_since = active_due.due_since -- takes the row's lock
)
SELECT count(*) FROM written;

-- name: clear_days
-- Deletes the counts of the days from $1 to $2; they are due since $3.
WITH gone AS (
    DELETE FROM installation_days WHERE day BETWEEN $1 AND $2 RETURNING product_id, day
), ended AS (
    INSERT INTO active_due (product_id, day, due_since)
    SELECT DISTINCT product_id, day, $3::timestamptz FROM gone ORDER BY product_id, day
    ON CONFLICT (product_id, day) DO UPDATE SET due_since = active_due.due_since
)
INSERT INTO days_due (product_id, day, due_since)
SELECT DISTINCT product_id, day, $3::timestamptz FROM gone ORDER BY product_id, day
ON CONFLICT (product_id, day) DO UPDATE SET due_since = days_due.due_since;

-- name: due_days
-- The due days, the newest first, with their products: large ones, for which more than $2 installations were
-- counted, only if they are due since before $1.
SELECT d.day, array_agg(d.product_id ORDER BY d.product_id) AS products
FROM days_due AS d
LEFT JOIN fleet_days AS f ON f.product_id = d.product_id AND f.day = d.day AND f.dimension = 'all'
                         AND f.value = '' AND f.verdict = ''
WHERE d.due_since <= $1 OR coalesce(f.installations, 0) <= $2
GROUP BY d.day
ORDER BY d.day DESC;

-- name: take_due
-- The day is no longer due for these products, unless it is marked again. Waits for transactions that mark it.
DELETE FROM days_due WHERE day = $1 AND product_id = ANY ($2::uuid[]);

-- name: roll_up_fleet
-- Counts the installations and pings of the products $2 on the day $1 again, by each dimension, for each verdict and
-- for all verdicts. The values of a dimension after the $3 most frequent are "other".
WITH facts AS (
    SELECT d.product_id, d.verdict, d.pings, s.license_status /*:columns*/
    FROM installation_days AS d
    LEFT JOIN states AS s ON s.installation_id = d.installation_id AND s.state = d.state
    WHERE d.day = $1 AND d.product_id = ANY ($2::uuid[])
), counted AS MATERIALIZED (
    SELECT product_id, verdict, 'status' /*:dimension*/ AS dimension, license_status /*:value*/ AS value,
           count(*) AS installations, sum(pings) AS pings
    FROM facts
    GROUP BY product_id, verdict, GROUPING SETS ( license_status /*:sets*/ )
    UNION ALL
    SELECT e.product_id, e.verdict, e.dimension, e.value, e.installations, e.amount
    FROM erased_counts AS e
    WHERE e.roll_up = 'fleet' AND e.day = $1 AND e.product_id = ANY ($2::uuid[])
), ranked AS (
    SELECT product_id, dimension, value,
           row_number() OVER (PARTITION BY product_id, dimension ORDER BY sum(installations) DESC, value) AS rank
    FROM counted
    GROUP BY product_id, dimension, value
), named AS (
    SELECT c.product_id, c.dimension, CASE WHEN r.rank <= $3::bigint THEN c.value ELSE 'other' END AS value,
           c.verdict, c.installations, c.pings
    FROM counted AS c
    JOIN ranked AS r USING (product_id, dimension, value)
    UNION ALL
    SELECT product_id, 'all', '', verdict, installations, pings FROM counted WHERE dimension = 'verdict'
), fresh AS MATERIALIZED (
    SELECT product_id, dimension, value, coalesce(verdict, '') AS verdict,
           sum(installations)::bigint AS installations, sum(pings)::bigint AS pings
    FROM named
    GROUP BY product_id, dimension, value, GROUPING SETS ((verdict), ())
), gone AS (
    DELETE FROM fleet_days AS f
    WHERE f.day = $1 AND f.product_id = ANY ($2::uuid[])
      AND NOT EXISTS (SELECT FROM fresh AS n WHERE n.product_id = f.product_id AND n.dimension = f.dimension
                                               AND n.value = f.value AND n.verdict = f.verdict)
)
INSERT INTO fleet_days AS f (product_id, day, dimension, value, verdict, installations, pings)
SELECT product_id, $1, dimension, value, verdict, installations, pings FROM fresh
ON CONFLICT (product_id, dimension, value, verdict, day)
DO UPDATE SET (installations, pings) = (excluded.installations, excluded.pings)
WHERE (f.installations, f.pings) <> (excluded.installations, excluded.pings);

-- name: roll_up_features
-- Counts the uses of each feature of the products $2 on the day $1 again, and the installations that used it. The
-- features after the $3 most widespread are "other".
WITH counted AS (
    SELECT d.product_id, u.number, u.name, sum(u.uses) AS uses, count(*) AS installations
    FROM installation_days AS d
    CROSS JOIN LATERAL feature_uses(d.counters, d.features) AS u
    WHERE d.day = $1 AND d.product_id = ANY ($2::uuid[]) AND u.uses <> 0
    GROUP BY d.product_id, u.number, u.name
), erased AS (
    SELECT e.product_id, -1 AS number, e.feature AS name, e.amount AS uses, e.installations
    FROM erased_counts AS e
    WHERE e.roll_up = 'features' AND e.day = $1 AND e.product_id = ANY ($2::uuid[])
), named AS MATERIALIZED (
    SELECT c.product_id, c.number, c.name, coalesce(n.name, c.name) AS feature, c.uses, c.installations
    FROM (SELECT * FROM counted UNION ALL SELECT * FROM erased) AS c
    LEFT JOIN feature_names AS n ON n.number = c.number
), ranked AS MATERIALIZED (
    -- An installation has a feature by number or by name, and counts once.
    SELECT product_id, feature, sum(uses) AS uses, sum(installations)::bigint AS installations,
           row_number() OVER (PARTITION BY product_id ORDER BY sum(installations) DESC, sum(uses) DESC, feature)
           > $3::bigint OR feature = 'other' AS rare
    FROM named
    GROUP BY product_id, feature
), crowded AS (
    SELECT product_id FROM ranked GROUP BY product_id HAVING count(*) > $3
), rare AS MATERIALIZED (
    SELECT n.product_id, n.number, n.name
    FROM named AS n
    JOIN ranked AS r ON r.product_id = n.product_id AND r.feature = n.feature AND r.rare
), rest AS (
    -- An installation that used two rare ones counts once: the day is read again.
    SELECT d.product_id, 'other' AS feature, sum(u.uses) AS uses,
           count(DISTINCT d.installation_id) AS installations
    FROM installation_days AS d
    JOIN crowded AS c ON c.product_id = d.product_id
    CROSS JOIN LATERAL feature_uses(d.counters, d.features) AS u
    JOIN rare AS r ON r.product_id = d.product_id AND r.number = u.number AND r.name = u.name
    WHERE d.day = $1 AND u.uses <> 0
    GROUP BY d.product_id
), fresh AS MATERIALIZED (
    SELECT product_id, feature, uses, installations
    FROM ranked
    WHERE NOT (rare AND product_id IN (SELECT product_id FROM crowded))
    UNION ALL
    SELECT product_id, feature, uses, installations FROM rest
), gone AS (
    DELETE FROM feature_days AS f
    WHERE f.day = $1 AND f.product_id = ANY ($2::uuid[])
      AND NOT EXISTS (SELECT FROM fresh AS n WHERE n.product_id = f.product_id AND n.feature = f.feature)
)
INSERT INTO feature_days AS f (product_id, day, feature, uses, installations)
SELECT product_id, $1, feature, uses, installations FROM fresh
ON CONFLICT (product_id, day, feature)
DO UPDATE SET (uses, installations) = (excluded.uses, excluded.installations)
WHERE (f.uses, f.installations) <> (excluded.uses, excluded.installations);

-- name: mark_week
-- The week of the day $1 is due.
INSERT INTO weeks_due (week) VALUES (date_trunc('week', $1::date::timestamp)::date)
ON CONFLICT (week) DO UPDATE SET week = excluded.week; -- takes the row's lock

-- name: due_weeks
-- The due weeks from $1 on: this and the last one, those whose days changed, and those for which the timeline has
-- other numbers than were counted: a changed schedule leads to transitions in the past.
WITH present AS (
    SELECT date_trunc('week', c.changed_at AT TIME ZONE 'UTC')::date AS week,
           count(DISTINCT c.installation_id) FILTER (WHERE c.after = 'lost') AS lost,
           count(DISTINCT c.installation_id) FILTER (WHERE c.after = 'returned') AS returned
    FROM changes AS c
    JOIN installations AS i USING (installation_id)
    WHERE c.field = 'life' AND c.after IN ('lost', 'returned')
      AND c.changed_at >= $1::timestamp AT TIME ZONE 'UTC'
    GROUP BY 1
), erased AS (
    SELECT day AS week, sum(installations) FILTER (WHERE dimension = 'lost') AS lost,
           sum(installations) FILTER (WHERE dimension = 'returned') AS returned
    FROM erased_counts
    WHERE roll_up = 'cohorts' AND dimension <> 'active' AND day >= $1
    GROUP BY day
), timeline AS (
    SELECT week, sum(lost) AS lost, sum(returned) AS returned
    FROM (SELECT * FROM present UNION ALL SELECT * FROM erased) AS both_of_them
    GROUP BY week
), counted AS (
    SELECT week, sum(lost) AS lost, sum(returned) AS returned FROM cohort_weeks WHERE week >= $1 GROUP BY week
)
SELECT week FROM weeks_due WHERE week >= $1
UNION
SELECT w FROM unnest(ARRAY[date_trunc('week', $2::date::timestamp)::date,
                           date_trunc('week', $2::date::timestamp)::date - 7]) AS w WHERE w >= $1
UNION
SELECT week FROM timeline FULL JOIN counted USING (week)
WHERE (coalesce(timeline.lost, 0), coalesce(timeline.returned, 0))
      <> (coalesce(counted.lost, 0), coalesce(counted.returned, 0))
ORDER BY 1;

-- name: take_due_week
-- The week is no longer due, unless it is marked again; nor are those before $2, which are not counted any more.
DELETE FROM weeks_due WHERE week = $1 OR week < $2;

-- name: roll_up_week
-- Counts again how many installations of each cohort were active, were lost and returned in the week $1.
-- A cohort is active in its own week: the first ping was received then, even if it is of a day before.
WITH heard AS (
    SELECT DISTINCT installation_id FROM installation_days WHERE day >= $1::date AND day < $1 + 7
), lives AS (
    SELECT installation_id, bool_or(after = 'lost') AS lost, bool_or(after = 'returned') AS returned
    FROM changes
    WHERE field = 'life' AND after IN ('lost', 'returned')
      AND changed_at >= $1::timestamp AT TIME ZONE 'UTC' AND changed_at < ($1 + 7)::timestamp AT TIME ZONE 'UTC'
    GROUP BY installation_id
), present AS (
    SELECT i.product_id, i.cohort,
           count(*) FILTER (WHERE i.cohort = $1 OR h.installation_id IS NOT NULL) AS active,
           count(*) FILTER (WHERE l.lost) AS lost,
           count(*) FILTER (WHERE l.returned) AS returned
    FROM (
        SELECT installation_id, product_id,
               date_trunc('week', first_received_at AT TIME ZONE 'UTC')::date AS cohort
        FROM installations
        WHERE first_received_at < ($1 + 7)::timestamp AT TIME ZONE 'UTC'
    ) AS i
    LEFT JOIN heard AS h USING (installation_id)
    LEFT JOIN lives AS l USING (installation_id)
    WHERE i.cohort = $1 OR h.installation_id IS NOT NULL OR l.lost OR l.returned
    GROUP BY i.product_id, i.cohort
), erased AS (
    SELECT product_id, value::date AS cohort,
           coalesce(sum(installations) FILTER (WHERE dimension = 'active'), 0) AS active,
           coalesce(sum(installations) FILTER (WHERE dimension = 'lost'), 0) AS lost,
           coalesce(sum(installations) FILTER (WHERE dimension = 'returned'), 0) AS returned
    FROM erased_counts
    WHERE roll_up = 'cohorts' AND day = $1
    GROUP BY product_id, value
), fresh AS MATERIALIZED (
    SELECT product_id, cohort, sum(active)::bigint AS active, sum(lost)::bigint AS lost,
           sum(returned)::bigint AS returned
    FROM (SELECT * FROM present UNION ALL SELECT * FROM erased) AS both_of_them
    GROUP BY product_id, cohort
), gone AS (
    DELETE FROM cohort_weeks AS c
    WHERE c.week = $1
      AND NOT EXISTS (SELECT FROM fresh AS n WHERE n.product_id = c.product_id AND n.cohort = c.cohort)
)
INSERT INTO cohort_weeks AS c (product_id, cohort, week, active, lost, returned)
SELECT product_id, cohort, $1, active, lost, returned FROM fresh
ON CONFLICT (product_id, cohort, week)
DO UPDATE SET (active, lost, returned) = (excluded.active, excluded.lost, excluded.returned)
WHERE (c.active, c.lost, c.returned) <> (excluded.active, excluded.lost, excluded.returned);

-- name: progress
-- Up to when, by the server's clock, pings are counted (before the first run: when the first was received), and
-- since when days wait to be counted.
SELECT coalesce((SELECT reached_at FROM rollup_marks WHERE name = $1),
                (SELECT received_at FROM pings ORDER BY received_at LIMIT 1)) AS pings_until,
       (SELECT min(due_since) FROM days_due) AS days_since;
