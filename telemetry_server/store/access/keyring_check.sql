-- name: remembered
-- The stored check values; that of the keyring itself has no id.
SELECT NULL AS key, check_value, true AS needed FROM keyring_check
UNION ALL
SELECT key, check_value, abandoned_at IS NULL FROM master_keys;

-- name: remember_check
INSERT INTO keyring_check (check_value) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: remember_master
INSERT INTO master_keys (key, check_value) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: one_at_a_time
-- One rotation at a time: the lock is held until the transaction ends.
SELECT FROM keyring_check FOR UPDATE;

-- name: abandon_master
UPDATE master_keys SET abandoned_at = now() WHERE key = $1 AND abandoned_at IS NULL RETURNING key;
