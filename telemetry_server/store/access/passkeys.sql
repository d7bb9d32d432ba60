-- name: of_person
-- The passkeys of a person, the newest first.
SELECT credential_id, person_id, public_key, sign_count, name, backed_up, created_at, last_used_at
FROM passkeys
WHERE person_id = $1
ORDER BY created_at DESC, credential_id;

-- name: find
-- A passkey of an active person.
SELECT k.credential_id, k.person_id, k.public_key, k.sign_count, k.name, k.backed_up, k.created_at, k.last_used_at
FROM passkeys AS k
JOIN people AS p USING (person_id)
WHERE k.credential_id = $1 AND p.deactivated_at IS NULL;

-- name: add
-- A new passkey, unless it is known, or the person has $8 of them.
INSERT INTO passkeys (credential_id, person_id, public_key, sign_count, name, backed_up, created_at)
SELECT $1, $2, $3, $4, $5, $6, $7
WHERE (SELECT count(*) FROM passkeys WHERE person_id = $2) < $8::bigint
ON CONFLICT DO NOTHING
RETURNING credential_id;

-- name: note_use
-- Stores the counter and the time of a sign-in, unless the counter is no longer $2.
UPDATE passkeys SET sign_count = $3, last_used_at = $4
WHERE credential_id = $1 AND sign_count = $2
RETURNING credential_id;

-- name: rename
-- Another name of a passkey of the person $2.
UPDATE passkeys SET name = $3
WHERE credential_id = $1 AND person_id = $2
RETURNING credential_id;

-- name: remove
-- Removes the passkey $2 of a person, or if NULL all; returns their names.
DELETE FROM passkeys
WHERE person_id = $1 AND ($2::bytea IS NULL OR credential_id = $2)
RETURNING name;
