-- name: durability
-- The settings that durability depends on.
SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit');

-- name: quarantined
SELECT count(*) FROM quarantine;

-- name: pings_between
SELECT count(*) FROM pings WHERE received_at >= $1 AND received_at < $2;
