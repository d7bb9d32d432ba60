-- name: lock
-- One checkpoint of a log at a time: of two that fork, the second one is compared with the first one.
SELECT pg_advisory_xact_lock($1);

-- name: newest
-- The largest checkpoint of a log; since it was restored from a backup, if it was.
SELECT w.size, w.root
FROM witnessed_checkpoints AS w
WHERE w.origin = $1 AND w.received_at > coalesce(
    (SELECT max(e.recorded_at) FROM audit_entries AS e WHERE e.action = 'witness.restore' AND e.subject_id = $1),
    '-infinity'
)
ORDER BY w.received_at DESC, w.size DESC
LIMIT 1;

-- name: keep
INSERT INTO witnessed_checkpoints (origin, size, root, note, received_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING;

-- name: kept
-- The newest $2 checkpoints; of the log $1, or if NULL of all.
SELECT origin, size, note, received_at FROM witnessed_checkpoints
WHERE $1::text IS NULL OR origin = $1
ORDER BY received_at DESC, size DESC
LIMIT $2;
