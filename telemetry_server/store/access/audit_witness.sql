-- name: lock
-- One checkpoint of a log at a time: of two that fork, the second one is compared with the first one.
SELECT pg_advisory_xact_lock($1);

-- name: newest
SELECT size, root FROM witnessed_checkpoints WHERE origin = $1 ORDER BY size DESC LIMIT 1;

-- name: keep
INSERT INTO witnessed_checkpoints (origin, size, root, note, received_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING;

-- name: kept
-- The newest $2 checkpoints; of the log $1, or if NULL of all.
SELECT origin, size, note, received_at FROM witnessed_checkpoints
WHERE $1::text IS NULL OR origin = $1
ORDER BY received_at DESC, size DESC
LIMIT $2;
