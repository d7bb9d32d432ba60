-- name: entries
-- What was seen, exported or changed from $1 until before $2, the oldest first: by actors whose name has one of $3 in it,
-- or with NULL by any.
SELECT e.recorded_at, e.actor, e.action, e.subject_kind, e.subject_id, e.product, e.network, e.details::text AS details
FROM audit_entries AS e
WHERE e.recorded_at >= $1 AND e.recorded_at < $2
  AND ($3::text[] IS NULL OR EXISTS (SELECT t.word FROM unnest($3::text[]) AS t (word)
                                     WHERE strpos(e.actor, t.word) > 0))
ORDER BY e.recorded_at, e.entry_id;

-- name: grants
-- Support access that was sealed to one of the keys $1 and was there in the window.
SELECT installation_id, case_id, key_id, received_at, not_after
FROM support_grants
WHERE key_id = ANY ($1::text[]) AND received_at < $3 AND not_after >= $2
ORDER BY received_at;

-- name: totals
-- How many subjects there are: those of a list or an export without a filter.
SELECT (SELECT count(*) FROM installations) AS installations, (SELECT count(*) FROM customers) AS customers,
       (SELECT count(*) FROM licenses) AS licenses;

-- name: owners
-- The customers of these licenses.
SELECT l.license_id::text AS license_id, l.customer_id::text AS customer_id
FROM licenses AS l
WHERE l.license_id::text = ANY ($1::text[]) AND l.customer_id IS NOT NULL;
