-- name: any_waiting
SELECT EXISTS (SELECT FROM audit_waiting);

-- name: try_lock
-- False where another process numbers entries; the lock is held until the transaction ends.
SELECT pg_try_advisory_xact_lock($1);

-- name: waiting
-- Up to $1 entries that have no leaf yet, the oldest first.
SELECT e.*
FROM (SELECT entry_id FROM audit_waiting ORDER BY entry_id LIMIT $1) AS w
JOIN audit_entries AS e USING (entry_id)
ORDER BY e.recorded_at, e.entry_id;

-- name: size
SELECT coalesce(max(leaf) + 1, 0) FROM audit_leaves;

-- name: add_leaves
INSERT INTO audit_leaves (leaf, entry_id, commitment) SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bytea[]);

-- name: add_nodes
INSERT INTO audit_nodes (level, position, hash) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[]);

-- name: no_longer_waiting
DELETE FROM audit_waiting WHERE entry_id = ANY ($1::uuid[]);

-- name: nodes
-- The stored hashes of these subtrees.
SELECT n.level, n.position, n.hash
FROM unnest($1::smallint[], $2::bigint[]) AS wanted (level, position)
JOIN audit_nodes AS n ON n.level = wanted.level AND n.position = wanted.position;

-- name: leaves
SELECT leaf, entry_id, commitment FROM audit_leaves WHERE leaf >= $1 AND leaf < $2 ORDER BY leaf;

-- name: leaf_with_entry
-- The leaf of the number $1, or of the entry $2, with its entry.
SELECT l.leaf, l.commitment, e.*
FROM audit_leaves AS l JOIN audit_entries AS e USING (entry_id)
WHERE l.leaf = $1::bigint OR l.entry_id = $2::uuid;
