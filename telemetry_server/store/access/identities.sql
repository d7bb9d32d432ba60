-- name: holder
-- The person with an identity, also a deactivated one.
SELECT p.person_id, p.email, p.role, p.deactivated_at IS NULL AS is_active,
       CASE WHEN p.product_ids IS NOT NULL
            THEN ARRAY(SELECT r.slug FROM products AS r WHERE r.product_id = ANY (p.product_ids) ORDER BY r.slug)
       END AS products
FROM person_identities AS i
JOIN people AS p USING (person_id)
WHERE i.issuer = $1 AND i.subject = $2;

-- name: list
-- All identities, or those of the person $1.
SELECT i.issuer, i.subject, i.email, i.person_id, p.email AS person, i.linked_at, i.last_used_at
FROM person_identities AS i
JOIN people AS p USING (person_id)
WHERE $1::uuid IS NULL OR i.person_id = $1
ORDER BY lower(p.email), i.issuer, i.subject;

-- name: link
-- A new identity of an active person, unless another one has it.
INSERT INTO person_identities (issuer, subject, person_id, email, linked_at)
SELECT $1, $2, p.person_id, $4, $5 FROM people AS p WHERE p.person_id = $3 AND p.deactivated_at IS NULL
ON CONFLICT DO NOTHING
RETURNING person_id;

-- name: unlink
-- Ends an identity of a person.
DELETE FROM person_identities WHERE issuer = $1 AND subject = $2 AND person_id = $3
RETURNING person_id;

-- name: note_use
-- Stores when an identity was used, and its address at the provider.
UPDATE person_identities SET last_used_at = $4, email = $3 WHERE issuer = $1 AND subject = $2;
