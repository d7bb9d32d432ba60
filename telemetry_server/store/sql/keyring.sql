-- name: remembered_check
SELECT check_value FROM keyring_check;

-- name: remember_check
INSERT INTO keyring_check (check_value) VALUES ($1) ON CONFLICT DO NOTHING;
