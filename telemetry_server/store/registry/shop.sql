-- name: note_delivery
-- Returns the message's id if it is new and to be applied.
INSERT INTO webhook_deliveries (webhook_id, received_at) VALUES ($1, $2)
ON CONFLICT DO NOTHING
RETURNING webhook_id;

-- name: forget_deliveries
WITH done AS (DELETE FROM webhook_deliveries WHERE received_at < $1 RETURNING 1) SELECT count(*) FROM done;

-- name: said_of_license
-- The fields of the license that the shop has set: when the event happened, and the message.
SELECT field, happened_at, webhook_id FROM shop_fields WHERE license_id = $1;

-- name: keep_said
-- A late message that repeats the present value does not make it older.
INSERT INTO shop_fields (license_id, field, happened_at, webhook_id)
SELECT $1, field, $3, $4 FROM unnest($2::text[]) AS f (field)
ON CONFLICT (license_id, field) DO UPDATE SET happened_at = excluded.happened_at, webhook_id = excluded.webhook_id
WHERE excluded.happened_at >= shop_fields.happened_at;

-- name: status_set_elsewhere
-- When an actor other than $2 last changed the status of the license.
SELECT max(changed_at) FROM registry_changes
WHERE entity = 'license' AND entity_id = $1 AND actor <> $2 AND before IS NOT NULL AND after ? 'status';

-- name: deliveries
-- The number of messages of the last 30 days, and the time of the newest.
SELECT count(*) AS messages, max(received_at) AS last_received_at FROM webhook_deliveries;
