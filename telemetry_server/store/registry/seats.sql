-- name: license_seats
-- What the seats of the license $1 depend on, and the hashes of its key in pings of its own product.
SELECT l.seats, l.free_environments, l.created_at,
       ARRAY(SELECT encode(k.key_hash, 'hex') FROM license_keys AS k
             WHERE k.license_id = l.license_id AND k.product_id = l.product_id) AS keys
FROM licenses AS l
WHERE l.license_id = $1;

-- name: seat_changes
-- When the number of seats of the license $1 changed, in order; without the row that made it.
SELECT changed_at, (before ->> 'seats')::integer AS before, (after ->> 'seats')::integer AS after
FROM registry_changes
WHERE entity = 'license' AND entity_id = $1::uuid::text AND before IS NOT NULL AND after ? 'seats'
ORDER BY changed_at, change_id;

-- name: copies_on_key
-- The copies that have one of the keys $1 (hexadecimal), or had it: their present values, and what changed.
WITH had AS (
    SELECT f.installation_id
    FROM installation_facts AS f
    WHERE f.license_key_hash IS NOT NULL
      AND f.license_key_hash = ANY (ARRAY(SELECT decode(k.key, 'hex') FROM unnest($1::text[]) AS k (key)))
    UNION
    SELECT c.installation_id FROM changes AS c WHERE c.field = 'license.key' AND c.before = ANY ($1)
)
SELECT f.installation_id, f.first_received_at, encode(f.license_key_hash, 'hex') AS key, f.environment, f.life,
       c.changed_at, c.field, c.before, c.after
FROM installation_facts AS f
JOIN had AS h ON h.installation_id = f.installation_id
LEFT JOIN changes AS c ON c.installation_id = f.installation_id
                      AND c.field IN ('license.key', 'service.environment', 'life')
ORDER BY f.installation_id, c.changed_at, c.sequence;

-- name: newly_over
-- At most $1 licenses with more copies than seats, of which it is not known since when.
SELECT license_id FROM licenses WHERE seats_used > seats AND over_since IS NULL ORDER BY license_id LIMIT $1;

-- name: keep_over_since
-- Skips licenses that another transaction is changing: they are found again.
WITH free AS MATERIALIZED (
    SELECT l.license_id, s.since
    FROM licenses AS l
    JOIN unnest($1::uuid[], $2::timestamptz[]) AS s (license_id, since) USING (license_id)
    WHERE l.seats_used > l.seats AND l.over_since IS NULL
    FOR NO KEY UPDATE OF l SKIP LOCKED
)
UPDATE licenses AS l SET over_since = free.since FROM free WHERE l.license_id = free.license_id;

-- name: over_seats
-- Licenses that match the filter with more copies than seats, those with the most too many first; total: how many there
-- are.
SELECT l.license_id, p.slug AS product, p.simulated, l.key_hint, l.customer_id, l.status, l.type, l.seats, l.seats_used,
       l.overage, l.over_since, l.expires_at, count(*) OVER () AS total
FROM licenses AS l
JOIN products AS p USING (product_id)
WHERE l.seats_used > l.seats AND TRUE /*:filter*/
ORDER BY l.seats_used - l.seats DESC, l.over_since, l.license_id
LIMIT $1 OFFSET $2;

-- name: expiring
-- Of the active licenses that match the filter and end after $1 and until $2: how many there are, how many of them are
-- in use, and the copies on them.
SELECT count(*) AS licenses, count(*) FILTER (WHERE l.seats_used > 0) AS in_use,
       coalesce(sum(l.seats_used), 0)::bigint AS copies
FROM licenses AS l
WHERE l.status = 'active' AND l.expires_at > $1 AND l.expires_at <= $2 AND TRUE /*:filter*/;

-- name: expiring_licenses
-- These licenses, the first to end first; total: how many there are.
SELECT l.license_id, p.slug AS product, p.simulated, l.key_hint, l.customer_id, l.type, l.seats, l.seats_used,
       l.expires_at, ((l.expires_at - interval '1 microsecond') AT TIME ZONE p.time_zone)::date AS last_day,
       count(*) OVER () AS total
FROM licenses AS l
JOIN products AS p USING (product_id)
WHERE l.status = 'active' AND l.expires_at > $1 AND l.expires_at <= $2 AND (l.seats_used > 0 OR NOT $3::boolean)
  AND TRUE /*:filter*/
ORDER BY l.expires_at, l.license_id
LIMIT $4 OFFSET $5;
