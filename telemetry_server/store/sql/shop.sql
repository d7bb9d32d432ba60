-- name: note_delivery
-- Gives the message's id back when it is new; a second server with the same message waits here.
INSERT INTO webhook_deliveries (webhook_id, received_at) VALUES ($1, $2)
ON CONFLICT DO NOTHING
RETURNING webhook_id;

-- name: forget_deliveries
WITH done AS (DELETE FROM webhook_deliveries WHERE received_at < $1 RETURNING 1) SELECT count(*) FROM done;
