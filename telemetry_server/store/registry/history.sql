-- name: lock_registry
-- Until the transaction ends, no other transaction changes the registry: what was read stays valid while it is
-- compared and written. Readers and the jobs that count seats do not wait.
SELECT pg_advisory_xact_lock(hashtextextended('license registry', 0));

-- name: record_changes
-- Writes the history. One JSON document: for the driver a fraction of the cost of one array per column.
INSERT INTO registry_changes (change_id, changed_at, entity, entity_id, actor, reason, before, after)
SELECT change_id, $2, entity, entity_id, $3, $4, before, after
FROM jsonb_to_recordset($1::jsonb) AS c (change_id uuid, entity text, entity_id text, before jsonb, after jsonb);

-- name: history
-- The newest first, before a given one.
SELECT change_id, changed_at, entity, entity_id, actor, reason, before, after
FROM registry_changes
WHERE entity = $1 AND entity_id = $2 AND (changed_at, change_id) < ($3, $4)
ORDER BY changed_at DESC, change_id DESC
LIMIT $5;
