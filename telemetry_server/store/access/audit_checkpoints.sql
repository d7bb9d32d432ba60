-- name: newest
SELECT size, note FROM audit_checkpoints ORDER BY size DESC LIMIT 1;

-- name: keep
INSERT INTO audit_checkpoints (size, signed_at, note) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;
