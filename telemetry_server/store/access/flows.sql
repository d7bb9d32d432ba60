-- name: begin
-- Stores a flow, with the digests of its state and its browser.
INSERT INTO sign_in_flows (digest, browser, purpose, provider, session, onward, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: take
-- Ends a flow that is valid at $2; the first caller gets it. It must not be created after $3.
DELETE FROM sign_in_flows
WHERE digest = $1 AND expires_at > $2 AND created_at <= $3
RETURNING browser, purpose, provider, session, onward, created_at;

-- name: forget
-- Deletes flows that expired before $1.
DELETE FROM sign_in_flows WHERE expires_at <= $1;
