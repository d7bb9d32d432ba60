-- name: durability
-- The settings that durability depends on.
SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit');

-- name: quarantined
SELECT count(*) FROM quarantine;
