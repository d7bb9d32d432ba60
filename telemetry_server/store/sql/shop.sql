-- name: note_delivery
-- Gives the message's id back when it is to be carried out: it is new, and nothing that happened later to
-- the same license was carried out before.
INSERT INTO webhook_deliveries (webhook_id, received_at, key_hash, happened_at)
SELECT $1, $2, $3, $4
WHERE NOT EXISTS (SELECT FROM webhook_deliveries AS d WHERE d.key_hash = $3 AND d.happened_at > $4)
ON CONFLICT DO NOTHING
RETURNING webhook_id;

-- name: forget_deliveries
WITH done AS (DELETE FROM webhook_deliveries WHERE received_at < $1 RETURNING 1) SELECT count(*) FROM done;
