-- name: create_token
-- Stores the digest of a new API token.
INSERT INTO tokens (token_id, digest, role, label, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: list_tokens
-- All API tokens, also revoked ones, the newest first.
SELECT token_id, role, label, created_at, expires_at, last_used_on, revoked_at
FROM tokens
ORDER BY created_at DESC, token_id;

-- name: revoke_token
-- Revokes a token; returns its id unless it is unknown or revoked already.
UPDATE tokens SET revoked_at = now()
WHERE token_id = $1 AND revoked_at IS NULL
RETURNING token_id;

-- name: find_token
-- The role and the label of a token that is valid at $2. One that expires must not be created after $3.
SELECT token_id, role, label, last_used_on
FROM tokens
WHERE digest = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2 AND created_at <= $3);

-- name: note_token_use
-- Stores the day of a token's last use.
UPDATE tokens SET last_used_on = $2
WHERE token_id = $1 AND last_used_on IS DISTINCT FROM $2;

-- name: create_sign_in_link
-- Stores the digest of a new sign-in link.
INSERT INTO sign_in_links (digest, role, created_at, expires_at)
VALUES ($1, $2, $3, $4);

-- name: use_sign_in_link
-- Invalidates a link; returns its role to the first caller, if it is in time. It must not be created after $3.
UPDATE sign_in_links SET used_at = $2
WHERE digest = $1 AND used_at IS NULL AND expires_at > $2 AND created_at <= $3
RETURNING role;

-- name: create_session
-- Stores the digest of a new session.
INSERT INTO sessions (digest, role, created_at, last_seen_at, expires_at)
VALUES ($1, $2, $3, $3, $4);

-- name: find_session
-- The role of a session that is valid at $2, was in use after $3 and was not created after $4.
SELECT role, last_seen_at
FROM sessions
WHERE digest = $1 AND expires_at > $2 AND last_seen_at > $3 AND created_at <= $4;

-- name: note_session_use
-- Stores when a session was last seen; a stored time beyond $3 is from a clock that was ahead.
UPDATE sessions SET last_seen_at = $2
WHERE digest = $1 AND (last_seen_at < $2 OR last_seen_at > $3);

-- name: delete_session
-- Ends a session.
DELETE FROM sessions WHERE digest = $1;

-- name: forget_sessions
-- Deletes sessions that expired before $1 or were idle since $2; returns them.
DELETE FROM sessions WHERE expires_at <= $1 OR last_seen_at <= $2
RETURNING digest;

-- name: forget_sign_in_links
-- Deletes links that expired before $1; returns them.
DELETE FROM sign_in_links WHERE expires_at <= $1
RETURNING digest;
