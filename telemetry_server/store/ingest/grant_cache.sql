-- name: grants_of_keys
-- The grants of the licenses that have one of these keys, hashed under the slug of any product.
-- One row of NULLs where there is no license at all, so that the cache need not ask again for a while.
SELECT k.key_hash, l.product_id, l.status, l.type, l.source, l.seats, l.seats_used, l.overage,
       CASE WHEN l.addresses_enforced THEN l.addresses ELSE '{}' END AS addresses,
       l.free_environments, l.starts_at, l.expires_at
FROM license_keys AS k
JOIN licenses AS l USING (license_id)
WHERE k.key_hash = ANY ($1::bytea[])
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
WHERE NOT EXISTS (SELECT FROM license_keys);
