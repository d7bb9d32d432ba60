-- name: record
-- Stores an entry and the note that it waits for its leaf.
WITH entry AS (
    INSERT INTO audit_entries (entry_id, salt, recorded_at, action, actor, subject_kind, subject_id, product, network,
                               reason, details)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    RETURNING entry_id
)
INSERT INTO audit_waiting (entry_id) SELECT entry_id FROM entry;

-- name: find
-- The newest entries of a filter that come before the time $8 and the id $9.
SELECT e.entry_id, l.leaf, e.recorded_at, e.actor, e.action, e.subject_kind, e.subject_id, e.product, e.network,
       e.reason, e.details
FROM audit_entries AS e LEFT JOIN audit_leaves AS l USING (entry_id)
WHERE ($1::text IS NULL OR starts_with(e.actor, $1))
  AND ($2::text IS NULL OR e.action = $2 OR starts_with(e.action, $2 || '.'))
  AND ($3::text IS NULL OR e.subject_kind = $3)
  AND ($4::text IS NULL OR e.subject_id = $4)
  AND ($5::text IS NULL OR e.product = $5)
  AND ($6::timestamptz IS NULL OR e.recorded_at >= $6)
  AND ($7::timestamptz IS NULL OR e.recorded_at < $7)
  AND (e.recorded_at, e.entry_id) < ($8, $9)
ORDER BY e.recorded_at DESC, e.entry_id DESC
LIMIT $10;

-- name: erasable
-- Those of the leaves $1 whose entries can be erased, as ranges, and their number.
SELECT range_agg(int8range(l.leaf, l.leaf + 1))::text AS leaves, count(*) AS entries
FROM audit_leaves AS l JOIN audit_entries AS e USING (entry_id)
WHERE l.leaf = ANY ($1::bigint[]) AND e.action <> 'audit.erase';

-- name: outdated
-- The first $2 leaves whose entries were recorded before $1 and can be erased, as ranges, and their number.
SELECT range_agg(int8range(leaf, leaf + 1))::text AS leaves, count(*) AS entries
FROM (
    SELECT l.leaf
    FROM audit_entries AS e JOIN audit_leaves AS l USING (entry_id)
    WHERE e.recorded_at < $1 AND e.action <> 'audit.erase'
    ORDER BY e.recorded_at
    LIMIT $2
) AS old;

-- name: erase
-- Deletes the entries of the leaves $1, with their salts.
DELETE FROM audit_entries AS e
USING audit_leaves AS l
WHERE l.entry_id = e.entry_id AND e.action <> 'audit.erase'
  AND l.leaf >= lower($1::text::int8multirange) AND l.leaf < upper($1::text::int8multirange)
  AND l.leaf <@ $1::text::int8multirange;
