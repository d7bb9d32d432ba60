-- name: known_items
-- Every item of the kind $1, as the job compares it.
SELECT subject, size, evidence::text AS evidence, last_at, closed_at IS NOT NULL AS closed
FROM clear_up_items
WHERE kind = $1
ORDER BY subject COLLATE "C";

-- name: keep_items
-- Opens new items, updates those whose facts changed, and opens closed ones again whose facts are back.
INSERT INTO clear_up_items (
    clear_up_id, kind, subject, product_id, license_id, size, evidence, first_at, last_at, opened_at
)
SELECT clear_up_id, kind, subject, product_id, license_id, size, evidence, first_at, last_at, $2
FROM jsonb_to_recordset($1::jsonb) AS n (
    clear_up_id uuid, kind text, subject text, product_id uuid, license_id uuid, size bigint, evidence jsonb,
    first_at timestamptz, last_at timestamptz
)
ON CONFLICT (kind, subject) DO UPDATE SET
    license_id      = excluded.license_id,
    size            = excluded.size,
    evidence        = excluded.evidence,
    last_at         = excluded.last_at,
    first_at        = CASE WHEN clear_up_items.closed_at IS NULL THEN clear_up_items.first_at ELSE excluded.first_at END,
    opened_at       = CASE WHEN clear_up_items.closed_at IS NULL THEN clear_up_items.opened_at ELSE excluded.opened_at END,
    state           = CASE WHEN clear_up_items.closed_at IS NULL THEN clear_up_items.state ELSE 'open' END,
    explained_until = CASE WHEN clear_up_items.closed_at IS NULL THEN clear_up_items.explained_until END,
    closed_at       = NULL;

-- name: close_items
-- Closes the items of the kind $1 and these subjects: their facts are gone.
UPDATE clear_up_items SET closed_at = $3
WHERE kind = $1 AND subject = ANY ($2::text[]) AND closed_at IS NULL;

-- name: items
-- A page of items that match, in the caller's order. $3 is today: what was explained until a day before it is open.
SELECT t.clear_up_id, t.kind, t.subject, p.slug AS product, p.simulated, t.license_id, l.customer_id, l.key_hint, l.seats,
       l.seats_used, l.expires_at, l.status AS license_status, l.source AS license_source, t.size,
       t.evidence::text AS evidence, t.first_at, t.last_at, t.opened_at, t.closed_at, t.owner, t.explained_until,
       CASE WHEN t.closed_at IS NOT NULL THEN 'closed' WHEN t.explained_until < $3 THEN 'open' ELSE t.state END AS state
FROM clear_up_items AS t
JOIN products AS p ON p.product_id = t.product_id
LEFT JOIN licenses AS l ON l.license_id = t.license_id
WHERE ($4::text[] IS NULL OR p.slug = ANY ($4)) AND ($5::text IS NULL OR t.kind = $5)
  AND ($6::text IS NULL OR t.owner = $6) AND ($7::uuid IS NULL OR t.clear_up_id = $7)
  AND ($9::text IS NULL OR t.subject = $9)
  AND CASE WHEN t.closed_at IS NOT NULL THEN 'closed' WHEN t.explained_until < $3 THEN 'open' ELSE t.state END
      = ANY ($8::text[])
ORDER BY t.clear_up_id /*:order*/
LIMIT $1 OFFSET $2;

-- name: item_counts
-- How many items there are by kind and state.
SELECT t.kind, CASE WHEN t.closed_at IS NOT NULL THEN 'closed' WHEN t.explained_until < $1 THEN 'open'
                    ELSE t.state END AS state, count(*) AS items
FROM clear_up_items AS t
JOIN products AS p ON p.product_id = t.product_id
WHERE ($2::text[] IS NULL OR p.slug = ANY ($2)) AND ($3::text IS NULL OR t.owner = $3)
GROUP BY 1, 2;

-- name: worst_items
-- Of each kind the largest item that waits for someone, with the number of such items, their sizes together, and since
-- when the first of them holds. $1 is today.
SELECT DISTINCT ON (t.kind) t.kind, t.clear_up_id, t.subject, p.slug AS product, t.license_id, l.key_hint, l.seats,
       l.seats_used, l.expires_at, l.source AS license_source, t.size, t.evidence::text AS evidence,
       count(*) OVER kinds AS items, (sum(t.size) OVER kinds)::bigint AS sizes, min(t.first_at) OVER kinds AS since
FROM clear_up_items AS t
JOIN products AS p ON p.product_id = t.product_id
LEFT JOIN licenses AS l ON l.license_id = t.license_id
WHERE ($2::text[] IS NULL OR p.slug = ANY ($2)) AND t.closed_at IS NULL
  AND (t.explained_until IS NULL OR t.explained_until < $1)
WINDOW kinds AS (PARTITION BY t.kind)
ORDER BY t.kind, t.size DESC, t.clear_up_id;

-- name: lock_items
-- The items of these ids that belong to these products, locked.
SELECT t.clear_up_id, t.state, t.explained_until, t.owner
FROM clear_up_items AS t
WHERE t.clear_up_id = ANY ($1::uuid[]) AND t.closed_at IS NULL
  AND ($2::text[] IS NULL OR t.product_id IN (SELECT product_id FROM products WHERE slug = ANY ($2)))
ORDER BY t.clear_up_id
FOR UPDATE;

-- name: set_items
-- State, owner and explanation of items.
UPDATE clear_up_items AS t SET state = n.state, explained_until = n.explained_until, owner = n.owner
FROM jsonb_to_recordset($1::jsonb) AS n (clear_up_id uuid, state text, explained_until date, owner text)
WHERE t.clear_up_id = n.clear_up_id;

-- name: record_item_changes
-- What a person did with items, under one id.
INSERT INTO clear_up_changes (change_id, clear_up_id, changed_at, actor, note, before, after)
SELECT $2, clear_up_id, $3, $4, $5, before, after
FROM jsonb_to_recordset($1::jsonb) AS n (clear_up_id uuid, before jsonb, after jsonb);

-- name: take_back
-- The changes of one action by that actor since $3, marked as undone.
UPDATE clear_up_changes SET undone_at = $4
WHERE change_id = $1 AND actor = $2 AND changed_at >= $3 AND undone_at IS NULL
RETURNING clear_up_id, before::text AS before, after::text AS after;

-- name: item_changes
-- What people did with an item, the newest first.
SELECT change_id, changed_at, actor, note, before::text AS before, after::text AS after, undone_at
FROM clear_up_changes
WHERE clear_up_id = $1
ORDER BY changed_at DESC, change_id DESC
LIMIT 100;

-- name: cases_of
-- The case of each of these licenses, keys and installations that a rule saw something of; that with the highest score.
SELECT f.subject_id, (array_agg(c.case_id ORDER BY c.score DESC, c.case_id))[1] AS case_id
FROM findings AS f
JOIN case_findings AS m ON m.finding_id = f.finding_id AND m.removed_at IS NULL
JOIN cases AS c ON c.case_id = m.case_id AND c.merged_into IS NULL
WHERE f.subject_id = ANY ($1::text[])
GROUP BY f.subject_id;
