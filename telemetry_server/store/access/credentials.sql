-- name: create_token
-- Stores the digest of a new API token.
INSERT INTO tokens (token_id, digest, role, label, created_at, expires_at, person_id, scopes, product_ids, networks)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: list_tokens
-- All API tokens, also revoked ones, the newest first; of the person $1, or if NULL all.
SELECT t.token_id, t.role, t.label, t.created_at, t.expires_at, t.last_used_on, t.revoked_at, t.scopes, t.networks,
       p.email AS person,
       CASE WHEN t.product_ids IS NOT NULL
            THEN ARRAY(SELECT r.slug FROM products AS r WHERE r.product_id = ANY (t.product_ids) ORDER BY r.slug)
       END AS products
FROM tokens AS t
LEFT JOIN people AS p USING (person_id)
WHERE $1::uuid IS NULL OR t.person_id = $1
ORDER BY t.created_at DESC, t.token_id;

-- name: revoke_token
-- Revokes a token, of the person $2 only unless that is NULL; returns its id unless it is unknown or revoked already.
UPDATE tokens SET revoked_at = now()
WHERE token_id = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR person_id = $2)
RETURNING token_id;

-- name: find_token
-- A token that is valid at $2 from the address $4. One that expires must not be created after $3. A person's token has
-- the role that the person has now, and ends with the account.
SELECT t.token_id, coalesce(p.role, t.role) AS role, t.label, t.last_used_on, t.person_id, p.email, p.name,
       p.shortcuts, p.time_zone, p.number_style, p.list_columns, t.scopes,
       CASE WHEN t.product_ids IS NOT NULL OR p.product_ids IS NOT NULL
            THEN ARRAY(SELECT r.slug FROM products AS r
                       WHERE (t.product_ids IS NULL OR r.product_id = ANY (t.product_ids))
                         AND (p.product_ids IS NULL OR r.product_id = ANY (p.product_ids)))
       END AS products
FROM tokens AS t
LEFT JOIN people AS p USING (person_id)
WHERE t.digest = $1 AND t.revoked_at IS NULL AND p.deactivated_at IS NULL
  AND (t.expires_at IS NULL OR t.expires_at > $2 AND t.created_at <= $3)
  AND (t.networks IS NULL OR $4::inet <<= ANY (t.networks));

-- name: note_token_use
-- Stores the day of a token's last use.
UPDATE tokens SET last_used_on = $2
WHERE token_id = $1 AND last_used_on IS DISTINCT FROM $2;

-- name: create_sign_in_link
-- Stores the digest of a new sign-in link.
INSERT INTO sign_in_links (digest, role, created_at, expires_at)
VALUES ($1, $2, $3, $4);

-- name: use_sign_in_link
-- Invalidates a link; returns its role to the first caller, if it is in time. It must not be created after $3.
UPDATE sign_in_links SET used_at = $2
WHERE digest = $1 AND used_at IS NULL AND expires_at > $2 AND created_at <= $3
RETURNING role;

-- name: forget_sign_in_links
-- Deletes links that expired before $1; returns them.
DELETE FROM sign_in_links WHERE expires_at <= $1
RETURNING digest;
