-- name: waiting
SELECT count(*) FROM audit_waiting;

-- name: all_nodes
SELECT level, position, hash FROM audit_nodes;

-- name: all_checkpoints
SELECT size, note FROM audit_checkpoints ORDER BY size;

-- name: leaves_with_entries
-- All leaves in order, each with its entry, or whether the erasure of that is recorded.
SELECT l.leaf, l.entry_id AS leaf_of, l.commitment, e.salt, e.recorded_at, e.actor, e.action, e.subject_kind,
       e.subject_id, e.product, e.network, e.reason, e.details,
       e.entry_id IS NULL AND l.leaf <@ (
           SELECT coalesce(range_agg((r.details ->> 'leaves')::int8multirange), '{}')
           FROM audit_entries AS r WHERE r.action = 'audit.erase'
       ) AS erased
FROM audit_leaves AS l LEFT JOIN audit_entries AS e USING (entry_id)
ORDER BY l.leaf;

-- name: outside_the_tree
-- The first entry that has no leaf and does not wait for one.
SELECT e.entry_id
FROM audit_entries AS e
WHERE NOT EXISTS (SELECT FROM audit_leaves AS l WHERE l.entry_id = e.entry_id)
  AND NOT EXISTS (SELECT FROM audit_waiting AS w WHERE w.entry_id = e.entry_id)
ORDER BY e.entry_id
LIMIT 1;
