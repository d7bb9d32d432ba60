-- name: due
-- A batch of the installations whose life may have changed by $1, the longest overdue first, after $2, $3.
-- One without a row in installations is there too, with nothing heard: it must not stay in front for ever.
SELECT f.installation_id, f.product_id, f.life, f.life_since, f.due_at, f.first_received_at,
       i.last_received_at, i.last_sequence
FROM installation_facts AS f
LEFT JOIN installations AS i USING (installation_id)
WHERE f.due_at <= $1 AND (f.due_at, f.installation_id) > ($2, $3)
ORDER BY f.due_at, f.installation_id
LIMIT $4;

-- name: of_product
-- A batch of the installations of a product after $2, whatever they are due; locked, in the writer's order.
SELECT f.installation_id, f.product_id, f.life, f.life_since, f.due_at, f.first_received_at,
       i.last_received_at, i.last_sequence
FROM installation_facts AS f
LEFT JOIN installations AS i USING (installation_id)
WHERE f.product_id = $1 AND f.installation_id > $2
ORDER BY f.installation_id
LIMIT $3
FOR UPDATE OF f;

-- name: settle
-- Compare and set: what the writer or another server changed since it was read stays as they left it.
-- Both parameters are arrays of JSON objects: what each installation is now, and its steps to there, each
-- of which becomes a row of the timeline. Rows are locked in the writer's order.
WITH settled AS MATERIALIZED (
    SELECT *
    FROM jsonb_to_recordset($1::jsonb) AS n (
        installation_id uuid, seen_life text, seen_due_at timestamptz, life text, life_since timestamptz,
        due_at timestamptz
    )
), locked AS MATERIALIZED (
    SELECT f.installation_id
    FROM installation_facts AS f
    JOIN settled AS n USING (installation_id)
    WHERE f.due_at = n.seen_due_at AND f.life = n.seen_life
    ORDER BY f.installation_id
    FOR UPDATE OF f
), done AS (
    UPDATE installation_facts AS f SET
        life        = n.life,
        life_since  = n.life_since,
        due_at      = n.due_at,
        judge_again = f.judge_again OR (n.life IN ('late', 'lost')) <> (n.seen_life IN ('late', 'lost'))
    FROM settled AS n
    JOIN locked USING (installation_id)
    WHERE f.installation_id = n.installation_id
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

-- name: put_off
-- What cannot be settled is moved on, so that it blocks nobody.
UPDATE installation_facts SET due_at = $2 WHERE installation_id = $1;

-- name: rescheduled_product
-- A product whose schedule changed, and how far its installations were looked at. Until the transaction
-- ends, nobody changes it again.
SELECT product_id, reschedule_after FROM products WHERE reschedule_after IS NOT NULL
ORDER BY product_id
LIMIT 1
FOR NO KEY UPDATE;

-- name: reschedule_after
-- How far they were looked at by now; NULL: all of them.
UPDATE products SET reschedule_after = $2 WHERE product_id = $1;
