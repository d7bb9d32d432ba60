-- name: create_session
-- Stores the digest of a new session.
INSERT INTO sessions (digest, role, created_at, last_seen_at, expires_at, authenticated_at, person_id, methods, device,
                      network, awaits_code)
VALUES ($1, $2, $3, $3, $4, $10, $5, $6, $7, $8, $9);

-- name: find_session
-- A session that is valid at $2, was in use after $3 and was not created after $4, with its person as of now. The
-- session of a deactivated person is none.
SELECT coalesce(p.role, s.role) AS role, s.last_seen_at, s.authenticated_at, s.methods, s.awaits_code,
       p.person_id, p.email, p.name, p.shortcuts, p.time_zone, p.number_style, p.list_columns,
       CASE WHEN p.product_ids IS NOT NULL
            THEN ARRAY(SELECT r.slug FROM products AS r WHERE r.product_id = ANY (p.product_ids))
       END AS products
FROM sessions AS s
LEFT JOIN people AS p USING (person_id)
WHERE s.digest = $1 AND s.expires_at > $2 AND s.last_seen_at > $3 AND s.created_at <= $4 AND p.deactivated_at IS NULL;

-- name: note_session_use
-- Stores when a session was last seen; a stored time beyond $3 is from a clock that was ahead.
UPDATE sessions SET last_seen_at = $2
WHERE digest = $1 AND (last_seen_at < $2 OR last_seen_at > $3);

-- name: sessions_of_person
-- The valid sessions of a person, the last seen first.
SELECT digest, created_at, last_seen_at, methods, device, network
FROM sessions
WHERE person_id = $1 AND expires_at > $2 AND last_seen_at > $3 AND NOT awaits_code
ORDER BY last_seen_at DESC, digest;

-- name: delete_session
-- Ends a session.
DELETE FROM sessions WHERE digest = $1;

-- name: delete_sessions_of_person
-- Ends the sessions of a person: that of the digest $2, or if NULL all, but not that of the digest $3; returns them.
DELETE FROM sessions
WHERE person_id = $1 AND ($2::bytea IS NULL OR digest = $2) AND digest IS DISTINCT FROM $3
RETURNING digest;

-- name: forget_sessions
-- Deletes sessions that expired before $1 or were idle since $2; returns them.
DELETE FROM sessions WHERE expires_at <= $1 OR last_seen_at <= $2
RETURNING digest;
