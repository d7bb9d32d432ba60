-- name: create_token
-- Keeps a new API token's digest.
INSERT INTO tokens (token_id, digest, role, label, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: list_tokens
-- Every API token there ever was, newest first.
SELECT token_id, role, label, created_at, expires_at, last_used_on, revoked_at
FROM tokens
ORDER BY created_at DESC, token_id;

-- name: revoke_token
-- Ends a token; gives its id unless it is unknown or was ended before.
UPDATE tokens SET revoked_at = now()
WHERE token_id = $1 AND revoked_at IS NULL
RETURNING token_id;

-- name: find_token
-- The role of a token that is good at $2, and what it is called. One that ends must not be made after $3.
SELECT token_id, role, label, last_used_on
FROM tokens
WHERE digest = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2 AND created_at <= $3);

-- name: note_token_use
-- Remembers the day of a token's last use.
UPDATE tokens SET last_used_on = $2
WHERE token_id = $1 AND last_used_on IS DISTINCT FROM $2;

-- name: create_sign_in_link
-- Keeps a new sign-in link's digest.
INSERT INTO sign_in_links (digest, role, created_at, expires_at)
VALUES ($1, $2, $3, $4);

-- name: use_sign_in_link
-- Uses a link up; gives its role to the one caller who is first and in time. It must not be made after $3.
UPDATE sign_in_links SET used_at = $2
WHERE digest = $1 AND used_at IS NULL AND expires_at > $2 AND created_at <= $3
RETURNING role;

-- name: create_session
-- Keeps a new session's digest.
INSERT INTO sessions (digest, role, created_at, last_seen_at, expires_at)
VALUES ($1, $2, $3, $3, $4);

-- name: find_session
-- The role of a session that is good at $2, was not idle since $3 and not made after $4.
SELECT role, last_seen_at
FROM sessions
WHERE digest = $1 AND expires_at > $2 AND last_seen_at > $3 AND created_at <= $4;

-- name: note_session_use
-- Remembers when a session was last seen; a time beyond $3 is one of a clock that was ahead.
UPDATE sessions SET last_seen_at = $2
WHERE digest = $1 AND (last_seen_at < $2 OR last_seen_at > $3);

-- name: delete_session
-- Ends a session.
DELETE FROM sessions WHERE digest = $1;

-- name: forget_sessions
-- Removes sessions that ended before $1 or were idle since $2; gives them.
DELETE FROM sessions WHERE expires_at <= $1 OR last_seen_at <= $2
RETURNING digest;

-- name: forget_sign_in_links
-- Removes links that ran out before $1; gives them.
DELETE FROM sign_in_links WHERE expires_at <= $1
RETURNING digest;
