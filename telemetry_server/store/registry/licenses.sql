-- name: licenses_by_id
SELECT l.*, p.slug AS product, p.simulated, p.time_zone
FROM licenses AS l
JOIN products AS p USING (product_id)
WHERE l.license_id = ANY ($1::uuid[]);

-- name: licenses_by_key_hash
SELECT l.*, p.slug AS product, p.simulated, p.time_zone
FROM licenses AS l
JOIN products AS p USING (product_id)
WHERE l.key_hash = ANY ($1::bytea[]);

-- name: licenses_listed
-- In the order of their creation.
SELECT l.*, p.slug AS product, p.simulated, p.time_zone
FROM licenses AS l
JOIN products AS p USING (product_id)
WHERE l.license_id > $1 AND TRUE /*:filter*/
ORDER BY l.license_id
LIMIT $2;

-- name: add_licenses
INSERT INTO licenses (
    license_id, product_id, customer_id, key_hash, key_hint, status, type, source, source_detail,
    order_reference, edition, seats, overage, domains, addresses, addresses_enforced, directories,
    free_environments, starts_at, expires_at, custom, created_at, updated_at
)
SELECT license_id, $3, customer_id, key_hash, key_hint, status, type, source, source_detail,
       order_reference, edition, seats, overage, domains, addresses, addresses_enforced, directories,
       free_environments, starts_at, expires_at, custom, $2, $2
FROM jsonb_populate_recordset(NULL::licenses, $1::jsonb);

-- name: change_licenses
-- Stale: the job "judge installations" judges the installations of the license again.
UPDATE licenses AS l SET
    customer_id        = n.customer_id,
    status             = n.status,
    type               = n.type,
    source             = n.source,
    source_detail      = n.source_detail,
    order_reference    = n.order_reference,
    edition            = n.edition,
    seats              = n.seats,
    overage            = n.overage,
    domains            = n.domains,
    addresses          = n.addresses,
    addresses_enforced = n.addresses_enforced,
    directories        = n.directories,
    free_environments  = n.free_environments,
    starts_at          = n.starts_at,
    expires_at         = n.expires_at,
    custom             = n.custom,
    updated_at         = $2,
    stale              = true
FROM jsonb_populate_recordset(NULL::licenses, $1::jsonb) AS n
WHERE l.license_id = n.license_id;

-- name: licenses_short_of_keys
-- Licenses with fewer key hashes than there are products: a product was added after them.
SELECT license_id
FROM unnest($1::uuid[]) AS asked (license_id)
WHERE (SELECT count(*) FROM license_keys AS k WHERE k.license_id = asked.license_id) < $2;

-- name: add_own_keys
-- The hashes of keys under the slug of their own product. If a license of another product has the same key, the hash
-- under this slug belonged to that license until now.
INSERT INTO license_keys (key_hash, license_id, product_id)
SELECT key_hash, license_id, $3
FROM unnest($1::bytea[], $2::uuid[]) AS k (key_hash, license_id)
ON CONFLICT (key_hash) DO UPDATE SET license_id = excluded.license_id
WHERE license_keys.license_id <> excluded.license_id;

-- name: add_other_keys
-- The hashes of keys under the slugs of other products; returns the licenses that got a new one.
WITH added AS (
    INSERT INTO license_keys (key_hash, license_id, product_id)
    SELECT key_hash, license_id, product_id
    FROM unnest($1::bytea[], $2::uuid[], $3::uuid[]) AS k (key_hash, license_id, product_id)
    ON CONFLICT (key_hash) DO NOTHING
    RETURNING license_id
)
SELECT DISTINCT license_id FROM added;

-- name: mark_stale
-- Also writes those that are stale already: a job that judges by them sees that they changed.
UPDATE licenses SET stale = true WHERE license_id = ANY ($1::uuid[]);
