-- name: copy_pings
-- Copies the pings of the installations $2 from $3 to before $4 into the case $1.
INSERT INTO case_rows (installation_id, case_id, kind, row_key, happened_at, row)
SELECT p.installation_id, $1::uuid, 'pings', p.sequence::text, p.received_at, to_jsonb(p)
FROM v_pings AS p
WHERE p.installation_id = ANY ($2::uuid[]) AND p.received_at >= $3 AND p.received_at < $4
ON CONFLICT DO NOTHING;

-- name: copy_forks
-- Copies forked pings, as copy_pings.
INSERT INTO case_rows (installation_id, case_id, kind, row_key, happened_at, row)
SELECT x.installation_id, $1::uuid, 'forks', concat_ws(' ', x.sequence, x.ping_id), x.received_at, to_jsonb(x)
FROM forks AS x
WHERE x.installation_id = ANY ($2::uuid[]) AND x.received_at >= $3 AND x.received_at < $4
ON CONFLICT DO NOTHING;

-- name: copy_changes
-- Copies changes, as copy_pings.
INSERT INTO case_rows (installation_id, case_id, kind, row_key, happened_at, row)
SELECT x.installation_id, $1::uuid, 'changes', concat_ws(' ', x.changed_at, x.sequence, x.field), x.changed_at, to_jsonb(x)
FROM changes AS x
WHERE x.installation_id = ANY ($2::uuid[]) AND x.changed_at >= $3 AND x.changed_at < $4
ON CONFLICT DO NOTHING;

-- name: pings_by_day
-- How many pings of the installations $1 there are on each day (UTC) from $2 to before $3, the newest first.
SELECT (p.received_at AT TIME ZONE 'UTC')::date AS day, count(*) AS pings
FROM pings AS p
WHERE p.installation_id = ANY ($1::uuid[]) AND p.received_at >= $2 AND p.received_at < $3
GROUP BY 1
ORDER BY 1 DESC;

-- name: count_rows
SELECT kind, count(*) AS rows FROM case_rows WHERE case_id = $1 GROUP BY kind ORDER BY kind;

-- name: columns
-- The names of the columns of the rows of a kind.
SELECT DISTINCT k.name
FROM case_rows AS r
CROSS JOIN LATERAL jsonb_object_keys(r.row) AS k (name)
WHERE r.case_id = $1 AND r.kind = $2
ORDER BY k.name;

-- name: rows
-- The rows of the kind $2 of a case, by installation and time.
SELECT row::text AS row FROM case_rows WHERE case_id = $1 AND kind = $2 ORDER BY installation_id, happened_at, row_key;

-- name: newest_rows
-- The newest $2 rows of a case.
SELECT kind, installation_id, happened_at, row::text AS row
FROM case_rows
WHERE case_id = $1
ORDER BY happened_at DESC, installation_id, kind, row_key
LIMIT $2;

-- name: days
-- The pings of the installations $1 by day since $2, also those that are forgotten.
SELECT installation_id, day, pings
FROM installation_days
WHERE installation_id = ANY ($1::uuid[]) AND day >= $2;

-- name: delete_rows
DELETE FROM case_rows WHERE case_id = $1;

-- name: hold
SELECT ground, held_at, held_by, rows, copied_at, is_whole, released_at FROM case_holds WHERE case_id = $1;

-- name: keep_hold
INSERT INTO case_holds (case_id, ground, held_at, held_by, rows, copied_at, is_whole)
VALUES ($1, $2, $3, $4, $5, $3, $6)
ON CONFLICT (case_id) DO UPDATE SET
    ground      = CASE WHEN case_holds.released_at IS NULL THEN case_holds.ground ELSE excluded.ground END,
    held_at     = CASE WHEN case_holds.released_at IS NULL THEN case_holds.held_at ELSE excluded.held_at END,
    held_by     = CASE WHEN case_holds.released_at IS NULL THEN case_holds.held_by ELSE excluded.held_by END,
    rows        = excluded.rows,
    copied_at   = excluded.copied_at,
    is_whole    = excluded.is_whole,
    released_at = NULL;

-- name: release_hold
UPDATE case_holds SET released_at = $2, rows = 0 WHERE case_id = $1 AND released_at IS NULL RETURNING ground;

-- name: notices
-- All versions of the notice in all languages, with their texts.
SELECT version, language, text, encode(sha256, 'hex') AS sha256 FROM notices ORDER BY valid_from, version, language;

-- name: notice_versions
-- The versions of the notice that the pings of a case name.
SELECT DISTINCT row ->> 'privacy_notice_version' AS version FROM case_rows WHERE case_id = $1 AND kind = 'pings';

-- name: licenses_named
-- The licenses that the installations $1 are on.
SELECT DISTINCT license_id FROM installation_facts WHERE installation_id = ANY ($1::uuid[]) AND license_id IS NOT NULL;

-- name: licenses
-- The licenses $1 as the registry has them now, without what stands for their keys.
SELECT (to_jsonb(x) - 'key_hash')::text AS row FROM licenses AS x WHERE x.license_id = ANY ($1::uuid[]) ORDER BY x.license_id;
