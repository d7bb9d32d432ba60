-- name: follow
-- Follows the installation $1 until $2 at least.
INSERT INTO followed_installations (installation_id, followed_until)
VALUES ($1, $2)
ON CONFLICT (installation_id) DO UPDATE
SET followed_until = greatest(followed_installations.followed_until, excluded.followed_until);

-- name: followed_installations
-- Whom people follow, and until when; those whose time has passed are to be forgotten.
SELECT installation_id, followed_until
FROM followed_installations
LIMIT 1000;

-- name: forget_followed
-- Forgets whom no one follows since $1.
DELETE FROM followed_installations WHERE followed_until <= $1;

-- name: add_followed_pings
-- Puts these pings, the newest first, before those of the installation $1, of which 20 are kept.
UPDATE followed_installations
SET pings = jsonb_path_query_array($2::jsonb || pings, '$[0 to 19]')
WHERE installation_id = $1;

-- name: followed_pings
-- The newest pings of an installation since it is followed, as JSON.
SELECT pings FROM followed_installations WHERE installation_id = $1;
