-- name: add_product
-- Nothing comes back where the slug is taken.
INSERT INTO products (
    product_id, slug, name, created_at, ping_interval_seconds, grace_seconds, lost_after_seconds,
    new_for_seconds
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (slug) DO NOTHING
RETURNING product_id, slug, name, ping_interval_seconds, created_at, grace_seconds, lost_after_seconds,
          new_for_seconds, simulated;

-- name: change_schedule
-- What is NULL stays. From the first installation on, all are looked at again.
UPDATE products SET
    ping_interval_seconds = coalesce($2, ping_interval_seconds),
    grace_seconds         = coalesce($3, grace_seconds),
    lost_after_seconds    = coalesce($4, lost_after_seconds),
    new_for_seconds       = coalesce($5, new_for_seconds),
    reschedule_after      = '00000000-0000-0000-0000-000000000000'
WHERE slug = $1
RETURNING product_id, slug, name, ping_interval_seconds, created_at, grace_seconds, lost_after_seconds,
          new_for_seconds, simulated;

-- name: add_product_key
INSERT INTO product_keys (product_key, product_id, created_at) VALUES ($1, $2, $3);

-- name: revoke_product_keys
-- All keys of the product but the one given; gives how many.
WITH revoked AS (
    UPDATE product_keys SET revoked_at = $3
    WHERE product_id = $1 AND product_key <> $2 AND revoked_at IS NULL
    RETURNING 1
)
SELECT count(*) FROM revoked;

-- name: all_products
-- Few: the vendor's price list.
SELECT product_id, slug, name, ping_interval_seconds, created_at, grace_seconds, lost_after_seconds,
       new_for_seconds, simulated
FROM products
ORDER BY created_at, slug;

-- name: product_by_slug
SELECT product_id, slug, name, ping_interval_seconds, created_at, grace_seconds, lost_after_seconds,
       new_for_seconds, simulated
FROM products
WHERE slug = $1;

-- name: good_product_keys
-- The keys that are good, newest first.
SELECT product_id, product_key FROM product_keys WHERE revoked_at IS NULL ORDER BY created_at DESC;

-- name: product_by_key
SELECT p.product_id, p.slug, p.name, p.ping_interval_seconds, p.created_at, p.grace_seconds,
       p.lost_after_seconds, p.new_for_seconds, p.simulated
FROM products AS p
JOIN product_keys AS k USING (product_id)
WHERE k.product_key = $1 AND k.revoked_at IS NULL;

-- name: keep_parent
-- Which identity a copy had before it was forked. A repeated enrolment makes another identity.
INSERT INTO lineage (installation_id, parent_id, product_id, enrolled_at, client_address)
VALUES ($1, $2, $3, $4, $5::text::inet)
ON CONFLICT DO NOTHING;
