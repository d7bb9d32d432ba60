-- A date in expires_at was its first moment, so that a license "until 29 November" was expired all that day. What
-- ends at midnight UTC came from a date and is good through that day now; its history says so. A license that
-- names networks is judged again: what no public address can match says nothing of a place any more.

WITH dated AS (
    SELECT l.license_id, l.expires_at AS was,
           CASE WHEN l.expires_at < '9999-12-31 00:00+00' THEN l.expires_at + interval '24 hours' END AS is_now
    FROM licenses AS l
    JOIN products AS p USING (product_id)
    WHERE (l.expires_at AT TIME ZONE 'UTC')::time = '00:00' AND NOT p.simulated
), moved AS (
    UPDATE licenses AS l SET expires_at = d.is_now, updated_at = now(), stale = true
    FROM dated AS d
    WHERE l.license_id = d.license_id
    RETURNING l.license_id, d.was, d.is_now
)
INSERT INTO registry_changes (change_id, changed_at, entity, entity_id, actor, reason, before, after)
SELECT gen_random_uuid(), now(), 'license', license_id::text, 'migration 0012',
       'a date in expires_at is good through that day',
       jsonb_build_object('expires_at', to_char(was AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
       jsonb_build_object('expires_at', to_char(is_now AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
FROM moved;

UPDATE licenses SET stale = true WHERE addresses <> '{}' AND NOT stale;
