-- name: add_product
-- No row if the slug exists.
INSERT INTO products (
    product_id, slug, name, created_at, ping_interval_seconds, grace_seconds, lost_after_seconds,
    new_for_seconds, time_zone
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (slug) DO NOTHING
RETURNING product_id, slug, name, ping_interval_seconds, created_at, grace_seconds, lost_after_seconds,
          new_for_seconds, simulated, time_zone;

-- name: change_schedule
-- A parameter that is NULL changes nothing. All installations, from the first on, are checked again.
UPDATE products SET
    ping_interval_seconds = coalesce($2, ping_interval_seconds),
    grace_seconds         = coalesce($3, grace_seconds),
    lost_after_seconds    = coalesce($4, lost_after_seconds),
    new_for_seconds       = coalesce($5, new_for_seconds),
    reschedule_after      = '00000000-0000-0000-0000-000000000000'
WHERE slug = $1
RETURNING product_id, slug, name, ping_interval_seconds, created_at, grace_seconds, lost_after_seconds,
          new_for_seconds, simulated, time_zone;

-- name: change_time_zone
UPDATE products SET time_zone = $2 WHERE product_id = $1
RETURNING product_id, slug, name, ping_interval_seconds, created_at, grace_seconds, lost_after_seconds,
          new_for_seconds, simulated, time_zone;

-- name: knows_time_zone
SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = $1);

-- name: move_days
-- A time at midnight in the old time zone $2 was set as a date: it becomes midnight of that date in the new one, $3.
-- Each changed license gets a row of history, by $5 because of $6, and is judged again.
WITH dated AS (
    SELECT l.license_id, l.starts_at, l.expires_at,
           CASE WHEN (l.starts_at AT TIME ZONE $2)::time = '00:00'
                THEN (l.starts_at AT TIME ZONE $2) AT TIME ZONE $3 ELSE l.starts_at END AS starts_now,
           CASE WHEN (l.expires_at AT TIME ZONE $2)::time = '00:00'
                THEN (l.expires_at AT TIME ZONE $2) AT TIME ZONE $3 ELSE l.expires_at END AS expires_now
    FROM licenses AS l
    WHERE l.product_id = $1
), moved AS (
    UPDATE licenses AS l SET starts_at = d.starts_now, expires_at = d.expires_now, updated_at = $4, stale = true
    FROM dated AS d
    WHERE l.license_id = d.license_id
      AND (d.starts_now, d.expires_now) IS DISTINCT FROM (d.starts_at, d.expires_at)
      AND coalesce(d.starts_now < d.expires_now, true)
    RETURNING d.*
)
INSERT INTO registry_changes (change_id, changed_at, entity, entity_id, actor, reason, before, after)
SELECT gen_random_uuid(), $4, 'license', m.license_id::text, $5, $6, c.before, c.after
FROM moved AS m
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(f.name, to_char(f.was AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) AS before,
           jsonb_object_agg(f.name, to_char(f.is_now AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) AS after
    FROM (VALUES ('starts_at', m.starts_at, m.starts_now), ('expires_at', m.expires_at, m.expires_now))
        AS f (name, was, is_now)
    WHERE f.was <> f.is_now
) AS c;

-- name: add_product_key
INSERT INTO product_keys (product_key, product_id, created_at) VALUES ($1, $2, $3);

-- name: revoke_product_keys
-- Revokes all keys of the product except the given one; returns their number.
WITH revoked AS (
    UPDATE product_keys SET revoked_at = $3
    WHERE product_id = $1 AND product_key <> $2 AND revoked_at IS NULL
    RETURNING 1
)
SELECT count(*) FROM revoked;

-- name: all_products
-- There are few: the vendor's price list.
SELECT product_id, slug, name, ping_interval_seconds, created_at, grace_seconds, lost_after_seconds,
       new_for_seconds, simulated, time_zone
FROM products
ORDER BY created_at, slug;

-- name: product_by_slug
SELECT product_id, slug, name, ping_interval_seconds, created_at, grace_seconds, lost_after_seconds,
       new_for_seconds, simulated, time_zone
FROM products
WHERE slug = $1;

-- name: good_product_keys
-- The valid keys, the newest first.
SELECT product_id, product_key FROM product_keys WHERE revoked_at IS NULL ORDER BY created_at DESC;

-- name: product_by_key
SELECT p.product_id, p.slug, p.name, p.ping_interval_seconds, p.created_at, p.grace_seconds,
       p.lost_after_seconds, p.new_for_seconds, p.simulated, p.time_zone
FROM products AS p
JOIN product_keys AS k USING (product_id)
WHERE k.product_key = $1 AND k.revoked_at IS NULL;

-- name: keep_parent
-- The identity a copy had before it was forked. A repeated enrolment makes another identity.
INSERT INTO lineage (installation_id, parent_id, product_id, enrolled_at, client_address)
VALUES ($1, $2, $3, $4, $5::text::inet)
ON CONFLICT DO NOTHING;

-- name: is_erased
SELECT EXISTS (SELECT e.installation_id FROM erased_installations AS e WHERE e.installation_id = $1);
