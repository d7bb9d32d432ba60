-- name: products_by_slug
-- The ids of products by slug.
SELECT slug, product_id FROM products WHERE slug = ANY ($1);

-- name: list_people
-- All people, also deactivated ones, by e-mail address; or the one of $1.
SELECT p.person_id, p.email, p.name, p.role, p.created_at, p.deactivated_at, p.shortcuts,
       p.time_zone, p.number_style,
       p.password_hash IS NOT NULL AS has_password, p.totp_since IS NOT NULL AS has_totp,
       EXISTS (SELECT FROM passkeys AS k WHERE k.person_id = p.person_id) AS has_passkey,
       (SELECT max(s.last_seen_at) FROM sessions AS s WHERE s.person_id = p.person_id) AS last_seen_at,
       CASE WHEN p.product_ids IS NOT NULL
            THEN ARRAY(SELECT r.slug FROM products AS r WHERE r.product_id = ANY (p.product_ids) ORDER BY r.slug)
       END AS products
FROM people AS p
WHERE $1::uuid IS NULL OR p.person_id = $1
ORDER BY lower(p.email);

-- name: person_by_email
-- What a sign-in needs of an active person.
SELECT p.person_id, p.email, p.role, p.password_hash, p.totp_salt, p.totp_since, p.totp_step,
       EXISTS (SELECT FROM passkeys AS k WHERE k.person_id = p.person_id) AS has_passkey
FROM people AS p
WHERE lower(p.email) = lower($1) AND p.deactivated_at IS NULL;

-- name: person_by_id
-- Likewise, by id.
SELECT p.person_id, p.email, p.role, p.password_hash, p.totp_salt, p.totp_since, p.totp_step,
       EXISTS (SELECT FROM passkeys AS k WHERE k.person_id = p.person_id) AS has_passkey
FROM people AS p
WHERE p.person_id = $1 AND p.deactivated_at IS NULL;

-- name: addresses_with_role
-- The addresses of the active people with a role.
SELECT email FROM people WHERE role = $1 AND deactivated_at IS NULL ORDER BY lower(email);

-- name: add_person
-- A new person, unless the address has an account.
INSERT INTO people (person_id, email, name, role, product_ids, password_hash, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
RETURNING person_id;

-- name: set_role
-- Another role, and other products; NULL: all.
UPDATE people SET role = $2, product_ids = $3
WHERE person_id = $1 AND deactivated_at IS NULL
RETURNING person_id;

-- name: deactivate
-- Ends an account; its sessions and tokens are refused from now on.
UPDATE people SET deactivated_at = $2
WHERE person_id = $1 AND deactivated_at IS NULL
RETURNING person_id;

-- name: reactivate
-- Takes that back; the password has to be set anew.
UPDATE people SET deactivated_at = NULL, password_hash = NULL
WHERE person_id = $1 AND deactivated_at IS NOT NULL
RETURNING person_id;

-- name: end_sessions
-- Ends the sessions of a person.
DELETE FROM sessions WHERE person_id = $1;

-- name: revoke_tokens
-- Revokes the tokens of a person.
UPDATE tokens SET revoked_at = $2
WHERE person_id = $1 AND revoked_at IS NULL;

-- name: set_password
-- Another password.
UPDATE people SET password_hash = $2
WHERE person_id = $1 AND deactivated_at IS NULL
RETURNING person_id;

-- name: set_profile
-- Another name, keyboard shortcuts on or off, time zone and numbers.
UPDATE people SET name = $2, shortcuts = $3, time_zone = $4, number_style = $5
WHERE person_id = $1;

-- name: set_list_columns
-- The columns of the list of installations, NULL: the usual ones.
UPDATE people SET list_columns = $2 WHERE person_id = $1;

-- name: invite
-- Stores the digest of a new invitation.
INSERT INTO invitations (digest, email, role, product_ids, person_id, invited_by, created_at, expires_at, inviter_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: is_known
-- Whether the address has an account, also a deactivated one.
SELECT EXISTS (SELECT FROM people WHERE lower(email) = lower($1));

-- name: drop_invitations
-- Withdraws the earlier invitations of an address.
DELETE FROM invitations WHERE lower(email) = lower($1);

-- name: drop_password_links
-- Withdraws the links with which a person sets a password.
DELETE FROM invitations WHERE person_id = $1;

-- name: drop_invitations_by
-- Withdraws the invitations that a person made.
DELETE FROM invitations WHERE inviter_id = $1;

-- name: list_invitations
-- The invitations that are open, as for open_invitation, the newest first.
SELECT encode(i.digest, 'hex') AS id, i.email, i.role, i.person_id IS NOT NULL AS for_password, i.invited_by,
       i.created_at, i.expires_at,
       CASE WHEN i.product_ids IS NOT NULL
            THEN ARRAY(SELECT r.slug FROM products AS r WHERE r.product_id = ANY (i.product_ids) ORDER BY r.slug)
       END AS products
FROM invitations AS i
WHERE i.expires_at > $1 AND i.created_at <= $2
  AND (i.inviter_id IS NULL OR EXISTS (
      SELECT FROM people AS p
      WHERE p.person_id = i.inviter_id AND p.deactivated_at IS NULL AND p.product_ids IS NULL AND p.role = ANY ($3::text[])
  ))
ORDER BY i.created_at DESC, i.digest;

-- name: open_invitation
-- An invitation that is valid at $2. It must not be created after $3, and who made it has one of the roles $4 now, for
-- all products.
SELECT i.email, i.role, i.product_ids, i.person_id
FROM invitations AS i
WHERE i.digest = $1 AND i.expires_at > $2 AND i.created_at <= $3
  AND (i.inviter_id IS NULL OR EXISTS (
      SELECT FROM people AS p
      WHERE p.person_id = i.inviter_id AND p.deactivated_at IS NULL AND p.product_ids IS NULL AND p.role = ANY ($4::text[])
  ));

-- name: use_invitation
-- The same, which ends it: the first caller gets it.
DELETE FROM invitations AS i
WHERE i.digest = $1 AND i.expires_at > $2 AND i.created_at <= $3
  AND (i.inviter_id IS NULL OR EXISTS (
      SELECT FROM people AS p
      WHERE p.person_id = i.inviter_id AND p.deactivated_at IS NULL AND p.product_ids IS NULL AND p.role = ANY ($4::text[])
  ))
RETURNING i.email, i.role, i.product_ids, i.person_id;

-- name: withdraw_invitation
-- Ends an invitation.
DELETE FROM invitations WHERE digest = $1
RETURNING email;

-- name: forget_invitations
-- Deletes invitations that expired before $1.
DELETE FROM invitations WHERE expires_at <= $1;
