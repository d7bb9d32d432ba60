-- name: create_share_link
-- Stores the digest of a new link, which shows the products of the slugs $5, NULL: all.
INSERT INTO share_links (link_id, digest, label, person_id, product_ids, created_by, created_at, expires_at)
SELECT $1, $2, $3, $4,
       CASE WHEN $5::text[] IS NOT NULL
            THEN ARRAY(SELECT r.product_id FROM products AS r WHERE r.slug = ANY ($5))
       END, $6, $7, $8;

-- name: list_share_links
-- The links of the person $1, or if $2 all, the newest first.
SELECT s.link_id, s.label, s.created_by, s.created_at, s.expires_at, s.revoked_at, s.last_used_on,
       CASE WHEN s.product_ids IS NOT NULL
            THEN ARRAY(SELECT r.slug FROM products AS r WHERE r.product_id = ANY (s.product_ids) ORDER BY r.slug)
       END AS products
FROM share_links AS s
WHERE s.person_id = $1 OR $2
ORDER BY s.created_at DESC, s.link_id
LIMIT 200;

-- name: revoke_share_link
-- Ends the link $1 at $4, if it is of the person $2, or $3.
UPDATE share_links SET revoked_at = $4
WHERE link_id = $1 AND revoked_at IS NULL AND (person_id = $2 OR $3)
RETURNING link_id;

-- name: find_share_link
-- A link that is valid at $2 and was not created after $3, with the role and the products that its person has now. It
-- ends with the account.
SELECT s.link_id, s.last_used_on, p.role,
       CASE WHEN s.product_ids IS NOT NULL OR p.product_ids IS NOT NULL
            THEN ARRAY(SELECT r.slug FROM products AS r
                       WHERE (s.product_ids IS NULL OR r.product_id = ANY (s.product_ids))
                         AND (p.product_ids IS NULL OR r.product_id = ANY (p.product_ids)))
       END AS products
FROM share_links AS s
LEFT JOIN people AS p USING (person_id)
WHERE s.digest = $1 AND s.revoked_at IS NULL AND s.expires_at > $2 AND s.created_at <= $3 AND p.deactivated_at IS NULL;

-- name: note_share_link_use
-- Stores the day of a link's last use.
UPDATE share_links SET last_used_on = $2
WHERE link_id = $1 AND last_used_on IS DISTINCT FROM $2;
