-- name: due
-- A batch of the installations whose phase may have changed by $1, the longest overdue first, after $2, $3.
-- One without a row in installations is included, without a last ping: it must not stay first for ever.
SELECT f.installation_id, f.product_id, f.life, f.life_since, f.due_at, f.first_received_at,
       i.last_received_at, i.last_sequence
FROM installation_facts AS f
LEFT JOIN installations AS i USING (installation_id)
WHERE f.due_at <= $1 AND (f.due_at, f.installation_id) > ($2, $3)
ORDER BY f.due_at, f.installation_id
LIMIT $4;

-- name: of_product
-- A batch of the installations of a product after $2, due or not.
SELECT f.installation_id, f.product_id, f.life, f.life_since, f.due_at, f.first_received_at,
       i.last_received_at, i.last_sequence
FROM installation_facts AS f
LEFT JOIN installations AS i USING (installation_id)
WHERE f.product_id = $1 AND f.installation_id > $2
ORDER BY f.installation_id
LIMIT $3;

-- name: settle
-- Compare and set: rows that the writer or another server changed since they were read stay as they are.
-- Both parameters are arrays of JSON objects: the new phase of each installation, and its transitions, each
-- of which becomes a row of the timeline. Rows are locked in the writer's order.
WITH settled AS MATERIALIZED (
    SELECT *
    FROM jsonb_to_recordset($1::jsonb) AS n (
        installation_id uuid, seen_life text, seen_due_at timestamptz, life text, life_since timestamptz,
        due_at timestamptz
    )
    ORDER BY installation_id
), done AS (
    UPDATE installation_facts AS f SET
        life        = n.life,
        life_since  = n.life_since,
        due_at      = n.due_at,
        judge_again = f.judge_again OR (n.life IN ('late', 'lost')) <> (n.seen_life IN ('late', 'lost'))
    FROM settled AS n
    WHERE f.installation_id = n.installation_id AND f.due_at = n.seen_due_at AND f.life = n.seen_life
    RETURNING f.installation_id
), timeline AS (
    INSERT INTO changes (installation_id, changed_at, sequence, field, before, after)
    SELECT s.installation_id, s.changed_at, s.sequence, 'life', s.before, s.after
    FROM jsonb_to_recordset($2::jsonb) AS s (
        installation_id uuid, changed_at timestamptz, sequence bigint, before text, after text
    )
    JOIN done USING (installation_id)
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM done;

-- name: mark_ended
-- The days of these products ended otherwise than they were counted, each from its day until before the day $3.
INSERT INTO active_due (product_id, day, due_since)
SELECT p.product_id, g.day::date, $4::timestamptz
FROM unnest($1::uuid[], $2::date[]) AS p (product_id, day)
CROSS JOIN LATERAL generate_series(p.day::timestamp, $3::date::timestamp - interval '1 day', '1 day') AS g (day)
ORDER BY 1, 2
ON CONFLICT (product_id, day) DO UPDATE SET due_since = active_due.due_since; -- takes the row's lock

-- name: put_off
-- An installation that cannot be settled is due later, so that it does not block others.
UPDATE installation_facts SET due_at = $2 WHERE installation_id = $1;

-- name: rescheduled_product
-- A product whose schedule changed, and up to where its installations were checked. It is locked until the
-- transaction ends.
SELECT product_id, reschedule_after FROM products WHERE reschedule_after IS NOT NULL
ORDER BY product_id
LIMIT 1
FOR NO KEY UPDATE;

-- name: reschedule_after
-- Up to where the installations were checked; NULL: all of them.
UPDATE products SET reschedule_after = $2 WHERE product_id = $1;
