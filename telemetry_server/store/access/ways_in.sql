-- name: lock
-- Another removal of this person's waits until the transaction ends.
SELECT person_id FROM people WHERE person_id = $1 FOR UPDATE;

-- name: has_one
-- Whether the person can sign in: by a password, a passkey, or an account at a provider of the issuers $2.
SELECT p.password_hash IS NOT NULL
    OR EXISTS (SELECT FROM passkeys AS k WHERE k.person_id = p.person_id)
    OR EXISTS (SELECT FROM person_identities AS i WHERE i.person_id = p.person_id AND i.issuer = ANY ($2::text[]))
FROM people AS p
WHERE p.person_id = $1;
