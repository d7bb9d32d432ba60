-- name: propose
INSERT INTO holds (
    hold_id, subject_kind, subject, tables, fields, since, until, case_reference, ground, expires_on, proposed_at, proposed_by
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: lock
SELECT proposed_by, confirmed_at, released_at, expires_on FROM holds WHERE hold_id = $1 FOR UPDATE;

-- name: confirm
UPDATE holds SET confirmed_at = $2, confirmed_by = $3 WHERE hold_id = $1;

-- name: release
UPDATE holds SET released_at = $2, released_by = $3, release_reason = $4 WHERE hold_id = $1;

-- name: all
-- Those in force first, and of the others the newest first.
SELECT h.hold_id, h.subject_kind, h.subject, h.tables, h.fields, h.since, h.until, h.case_reference, h.ground, h.expires_on,
       h.proposed_at, h.proposed_by, h.confirmed_at, h.confirmed_by, h.released_at, h.released_by, h.release_reason,
       (SELECT count(*) FROM held_rows AS r WHERE r.hold_id = h.hold_id) AS rows
FROM holds AS h
ORDER BY (h.released_at IS NULL AND h.expires_on >= $1) DESC, h.proposed_at DESC
LIMIT $2;

-- name: one
SELECT h.hold_id, h.subject_kind, h.subject, h.tables, h.fields, h.since, h.until, h.case_reference, h.ground, h.expires_on,
       h.proposed_at, h.proposed_by, h.confirmed_at, h.confirmed_by, h.released_at, h.released_by, h.release_reason,
       (SELECT count(*) FROM held_rows AS r WHERE r.hold_id = h.hold_id) AS rows
FROM holds AS h
WHERE h.hold_id = $1;

-- name: in_force
SELECT h.hold_id, h.subject_kind, h.subject, h.tables, h.fields, h.since, h.until, h.case_reference, h.ground, h.expires_on,
       h.proposed_at, h.proposed_by, h.confirmed_at, h.confirmed_by, h.released_at, h.released_by, h.release_reason,
       0::bigint AS rows
FROM holds AS h
WHERE h.confirmed_at IS NOT NULL AND h.released_at IS NULL AND h.expires_on >= $1
ORDER BY h.hold_id;

-- name: keep
INSERT INTO held_rows (hold_id, table_name, row_key, kept_at, held)
VALUES ($1, $2, $3, $4, $5::jsonb)
ON CONFLICT DO NOTHING;

-- name: kept_for
-- What holds keep of the subjects $1, whose ids are the texts $2: the number of rows by hold and table.
SELECT h.hold_id, h.expires_on, r.table_name, count(*) AS rows
FROM held_rows AS r
JOIN holds AS h USING (hold_id)
WHERE h.subject = ANY ($1::uuid[]) OR r.held ->> 'installation_id' = ANY ($2::text[])
GROUP BY h.hold_id, h.expires_on, r.table_name
ORDER BY h.hold_id, r.table_name;

-- name: held_rows
SELECT table_name, held::text AS held FROM held_rows WHERE hold_id = $1 ORDER BY table_name, row_key;

-- name: over
-- Holds that have expired or were released, whose rows are still there.
SELECT hold_id
FROM holds
WHERE emptied_at IS NULL AND (released_at IS NOT NULL OR expires_on < $1);

-- name: empty
WITH done AS (DELETE FROM held_rows WHERE hold_id = $1 RETURNING 1) SELECT count(*) FROM done;

-- name: emptied
UPDATE holds SET emptied_at = $2 WHERE hold_id = $1;
