-- name: there
-- The time of the database's clock.
SELECT clock_timestamp();

-- name: agreed
-- The latest moment that the pings received after $1 and until $2 agree on; NULL without any. The clocks of copies
-- and of the server count equally: the median over copies of each one's newest ping, by the earlier of both clocks.
-- From the hundred newest pings, without simulated ones.
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY c.newest)
FROM (
    SELECT g.installation_id, max(least(g.received_at, g.occurred_at)) AS newest
    FROM (
        SELECT installation_id, received_at, occurred_at
        FROM pings
        WHERE received_at > $1::timestamptz AND received_at <= $2::timestamptz
        ORDER BY received_at DESC
        LIMIT 100
    ) AS g
    JOIN installations AS i ON i.installation_id = g.installation_id
    JOIN products AS p ON p.product_id = i.product_id
    WHERE NOT p.simulated
    GROUP BY g.installation_id
) AS c;

-- name: last_as_of
-- The latest time, until $1, by which a job deleted rows.
SELECT max(as_of) FROM jobs WHERE as_of <= $1;

-- name: as_of
-- The time by which the job last deleted rows; one later than $2 does not count.
SELECT as_of FROM jobs WHERE name = $1 AND as_of <= $2;

-- name: keep_as_of
INSERT INTO jobs (name, last_started_at, as_of) VALUES ($1, $2, $2)
ON CONFLICT (name) DO UPDATE SET as_of = excluded.as_of;

-- name: ahead
-- The latest time beyond $1 that a job or a server process stored about itself; NULL without any.
SELECT greatest((SELECT max(reached_at) FROM rollup_marks WHERE reached_at > $1),
                (SELECT max(last_started_at) FROM jobs WHERE last_started_at > $1));

-- name: keep_finding
UPDATE jobs SET finding = $2, found_at = $3 WHERE name = $1;

-- name: finding
-- The last correction of future times, if it was since $1.
SELECT found_at, finding FROM jobs WHERE finding IS NOT NULL AND found_at >= $1 ORDER BY found_at DESC LIMIT 1;

-- name: stale_again
-- Licenses that expire after $1 and until $2 were judged by a clock that was ahead.
UPDATE licenses SET stale = true WHERE expires_at > $1 AND expires_at <= $2;

-- name: take_back_marks
-- Sets watermarks beyond $2 to $1; returns their old values.
WITH ahead AS MATERIALIZED (
    SELECT name, reached_at FROM rollup_marks WHERE reached_at > $2::timestamptz ORDER BY name FOR UPDATE
)
UPDATE rollup_marks AS m SET reached_at = $1
FROM ahead AS a
WHERE m.name = a.name
RETURNING m.name, a.reached_at;

-- name: set_back
-- Sets those of the watermarks $2 that are beyond $1 to $1.
UPDATE rollup_marks SET reached_at = $1 WHERE name = ANY ($2::text[]) AND reached_at > $1;

-- name: take_back_outages
-- Ends outages at $1 that end later than $2, and deletes those that begin after $1; returns their old ends.
WITH none AS (
    DELETE FROM outages WHERE began_at >= $1::timestamptz RETURNING ended_at
), shorter AS (
    UPDATE outages SET ended_at = $1 WHERE ended_at > $2::timestamptz AND began_at < $1 RETURNING ended_at
)
SELECT ended_at FROM none UNION ALL SELECT ended_at FROM shorter;

-- name: take_back_due
-- Days that are due since a time beyond $2 are due since $1.
WITH active AS (
    UPDATE active_due SET due_since = $1 WHERE due_since > $2
)
UPDATE days_due SET due_since = $1 WHERE due_since > $2;

-- name: take_back_hostnames
UPDATE hostnames SET looked_up_at = $1 WHERE looked_up_at > $2;

-- name: heard_ahead
-- A batch of the installations last seen at a time beyond $1.
SELECT DISTINCT i.installation_id
FROM pings AS g
JOIN installations AS i ON i.installation_id = g.installation_id
WHERE g.received_at > $1 AND i.last_received_at > $1
ORDER BY i.installation_id
LIMIT $2;

-- name: take_back_hearing
-- Sets the times of those of $1 that were last seen beyond $3: to that of their own clock if it is within 400 days,
-- else to now, $2.
WITH known AS MATERIALIZED (
    SELECT u.installation_id, $2::timestamptz - interval '400 days' AS oldest
    FROM unnest($1::uuid[]) AS u (installation_id)
    ORDER BY u.installation_id
), heard AS (
    UPDATE installations AS i SET
        last_received_at  = CASE WHEN i.last_occurred_at >= k.oldest THEN least(i.last_occurred_at, $2) ELSE $2 END,
        first_received_at = least(
            i.first_received_at,
            CASE WHEN i.last_occurred_at >= k.oldest THEN least(i.last_occurred_at, $2) ELSE $2 END
        )
    FROM known AS k
    WHERE i.installation_id = k.installation_id AND i.last_received_at > $3::timestamptz
    RETURNING i.installation_id, i.last_received_at AS heard_at
), facts AS (
    UPDATE installation_facts AS f SET
        first_received_at = least(f.first_received_at, h.heard_at),
        life_since        = CASE WHEN f.life = 'new' THEN least(f.life_since, h.heard_at) ELSE f.life_since END
    FROM heard AS h
    WHERE f.installation_id = h.installation_id
)
SELECT count(*) FROM heard;

-- name: lived_ahead
-- A batch of the installations whose phase changed at a time beyond $1.
SELECT DISTINCT c.installation_id
FROM changes AS c
JOIN installation_facts AS f ON f.installation_id = c.installation_id
WHERE c.field = 'life' AND c.changed_at > $1
ORDER BY c.installation_id
LIMIT $2;

-- name: take_back_lives
-- Restores the phases of $1 from before changes beyond $3, and deletes these changes; $2 is now.
WITH gone AS (
    DELETE FROM changes AS c
    WHERE c.installation_id = ANY ($1::uuid[]) AND c.field = 'life' AND c.changed_at > $3::timestamptz
    RETURNING c.installation_id, c.changed_at, c.sequence, c.before
), kept AS MATERIALIZED (
    SELECT installation_id, max(changed_at) AS changed_at
    FROM changes
    WHERE installation_id = ANY ($1::uuid[]) AND field = 'life' AND changed_at <= $3
    GROUP BY installation_id
), lived AS MATERIALIZED (
    SELECT DISTINCT ON (g.installation_id) g.installation_id, g.before, k.changed_at
    FROM gone AS g
    LEFT JOIN kept AS k USING (installation_id)
    ORDER BY g.installation_id, g.changed_at, g.sequence
), done AS (
    UPDATE installation_facts AS f SET
        life        = l.before,
        life_since  = coalesce(l.changed_at, least(f.first_received_at, $2::timestamptz)),
        judge_again = true
    FROM lived AS l
    WHERE f.installation_id = l.installation_id
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: look_at_all
-- All installations are checked again: their due times may depend on times that were corrected.
UPDATE products SET reschedule_after = '00000000-0000-0000-0000-000000000000';
