-- name: begin_totp
-- The salt of an authenticator app that is not confirmed yet; not where one is.
UPDATE people SET totp_salt = $2, totp_step = NULL
WHERE person_id = $1 AND totp_since IS NULL
RETURNING person_id;

-- name: confirm_totp
-- The first code was right: from now on the second factor is asked for.
UPDATE people SET totp_since = $2, totp_step = $3
WHERE person_id = $1 AND totp_since IS NULL AND totp_salt IS NOT NULL
RETURNING person_id;

-- name: use_step
-- Accepts a code of the time step $2; each step once, and none before one that was accepted.
UPDATE people SET totp_step = $2
WHERE person_id = $1 AND totp_since IS NOT NULL AND (totp_step IS NULL OR totp_step < $2)
RETURNING person_id;

-- name: remove_totp
-- Ends the second factor.
UPDATE people SET totp_salt = NULL, totp_since = NULL, totp_step = NULL
WHERE person_id = $1 AND totp_since IS NOT NULL
RETURNING person_id;

-- name: forget_codes
-- Deletes the recovery codes.
DELETE FROM recovery_codes WHERE person_id = $1;

-- name: drop_codes
-- Deletes the recovery codes of a person who has no second factor any more.
DELETE FROM recovery_codes AS r
USING people AS p
WHERE r.person_id = $1 AND p.person_id = r.person_id AND p.totp_since IS NULL
  AND NOT EXISTS (SELECT FROM passkeys AS k WHERE k.person_id = $1);

-- name: add_codes
-- Stores the digests of recovery codes.
INSERT INTO recovery_codes (person_id, digest) SELECT $1, unnest($2::bytea[]);

-- name: use_code
-- Uses a recovery code up; the first caller gets it.
UPDATE recovery_codes SET used_at = $3
WHERE person_id = $1 AND digest = $2 AND used_at IS NULL
RETURNING person_id;

-- name: codes_left
-- Number of recovery codes that are not used.
SELECT count(*) FROM recovery_codes WHERE person_id = $1 AND used_at IS NULL;
