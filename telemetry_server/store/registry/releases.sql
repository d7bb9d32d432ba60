-- name: editions_of
SELECT product_id, edition, name FROM editions WHERE product_id = $1 ORDER BY edition;

-- name: find_edition
SELECT product_id, edition, name FROM editions WHERE product_id = $1 AND edition = $2;

-- name: keep_edition
INSERT INTO editions (product_id, edition, name)
VALUES ($1, $2, $3)
ON CONFLICT (product_id, edition) DO UPDATE SET name = excluded.name;

-- name: releases_of
-- The newest version first.
SELECT product_id, version, released_on, builds, supported_until
FROM releases
WHERE product_id = $1
ORDER BY version_key(version) DESC NULLS LAST, version DESC;

-- name: find_release
SELECT product_id, version, released_on, builds, supported_until FROM releases WHERE product_id = $1 AND version = $2;

-- name: keep_release
INSERT INTO releases (product_id, version, released_on, builds, supported_until)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (product_id, version) DO UPDATE SET released_on = excluded.released_on, builds = excluded.builds,
                                               supported_until = excluded.supported_until;

-- name: released_between
-- The releases of the product $1 from the day $2 to the day $3, the oldest first.
SELECT r.version, r.released_on
FROM releases AS r
JOIN products AS p USING (product_id)
WHERE p.slug = $1 AND r.released_on BETWEEN $2 AND $3
ORDER BY r.released_on, r.version;
