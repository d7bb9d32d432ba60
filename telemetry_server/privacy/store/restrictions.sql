-- name: begin
INSERT INTO restrictions (restriction_id, subject_kind, subject, begun_at, begun_by, reason)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (subject) WHERE ended_at IS NULL DO NOTHING
RETURNING restriction_id;

-- name: finish
UPDATE restrictions SET ended_at = $2, ended_by = $3, end_reason = $4, hides = '{}'
WHERE subject = $1 AND ended_at IS NULL
RETURNING subject_kind;

-- name: in_force
SELECT r.restriction_id, r.subject_kind, r.subject, coalesce(c.company, c.name, c.email, r.subject::text) AS name,
       r.begun_at, r.begun_by, r.reason
FROM restrictions AS r
LEFT JOIN customers AS c ON c.customer_id = r.subject
WHERE r.ended_at IS NULL
ORDER BY r.begun_at DESC, r.restriction_id;

-- name: named
-- The restrictions in force, with what names a customer and its licenses.
SELECT r.restriction_id, r.subject_kind, r.subject, lower(c.email) AS email,
       ARRAY(SELECT l.license_id FROM licenses AS l WHERE l.customer_id = r.subject ORDER BY l.license_id) AS licenses
FROM restrictions AS r
LEFT JOIN customers AS c ON c.customer_id = r.subject
WHERE r.ended_at IS NULL;

-- name: hide
UPDATE restrictions SET hides = $2 WHERE restriction_id = $1 AND hides <> $2;

-- name: installations_on
SELECT installation_id FROM installation_facts WHERE license_id = ANY ($1::uuid[]) ORDER BY installation_id;

-- name: restrict_installations
INSERT INTO restricted_installations (installation_id, since)
SELECT n.installation_id, $2 FROM unnest($1::uuid[]) AS n (installation_id)
ON CONFLICT DO NOTHING;

-- name: free_others
DELETE FROM restricted_installations WHERE installation_id <> ALL ($1::uuid[]);

-- name: views
-- Whether the views are there.
SELECT to_regnamespace($1::text) IS NOT NULL;
