-- name: notices
-- All versions of the notice, in the order in which they come into force.
SELECT version, language, sha256, valid_from FROM notices ORDER BY valid_from, added_at, version, language;

-- name: installation_levels
SELECT installation_id, level FROM installation_levels;

-- name: customer_levels
-- The hashes that the keys of these customers' licenses have in pings.
SELECT k.key_hash, c.level
FROM customer_levels AS c
JOIN licenses AS l USING (customer_id)
JOIN license_keys AS k USING (license_id);
