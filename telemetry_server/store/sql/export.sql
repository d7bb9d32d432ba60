-- name: pings
-- Every ping that counts, of one product or all, since a moment or ever.
SELECT * FROM v_pings
WHERE ($1::text IS NULL OR product = $1) AND ($2::timestamptz IS NULL OR received_at >= $2);

-- name: installations
-- Every installation in its present state, of one product or all, heard of since a moment or ever.
SELECT * FROM v_installations
WHERE ($1::text IS NULL OR product = $1) AND ($2::timestamptz IS NULL OR last_received_at >= $2);

-- name: expected_pings
-- Explained only: for the joins of the views the planner guesses far too low.
SELECT FROM pings WHERE ($1::timestamptz IS NULL OR received_at >= $1);

-- name: expected_installations
-- Explained only, likewise.
SELECT FROM installations WHERE ($1::timestamptz IS NULL OR last_received_at >= $1);
