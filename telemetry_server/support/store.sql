-- name: begin_case
-- A case that is closed is opened again, and keeps its rule of two persons.
INSERT INTO support_cases (case_id, title, two_persons, begun_at, begun_by)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (case_id) DO UPDATE
SET title = excluded.title, two_persons = support_cases.two_persons OR excluded.two_persons,
    begun_at = excluded.begun_at, begun_by = excluded.begun_by, closed_at = NULL, closed_by = NULL
WHERE support_cases.closed_at IS NOT NULL
RETURNING case_id

-- name: close_case
UPDATE support_cases SET closed_at = $2, closed_by = $3 WHERE case_id = $1 AND closed_at IS NULL RETURNING case_id

-- name: case
SELECT case_id, title, two_persons, begun_at, begun_by, closed_at, closed_by FROM support_cases WHERE case_id = $1

-- name: cases
-- The open ones first, then the newest.
SELECT case_id, title, two_persons, begun_at, begun_by, closed_at, closed_by
FROM support_cases
ORDER BY closed_at IS NOT NULL, begun_at DESC, case_id
LIMIT $1

-- name: valid_grants
-- The number of valid grants of each case.
SELECT case_id, count(*) AS grants FROM support_grants WHERE sealed IS NOT NULL AND not_after > $1 GROUP BY case_id

-- name: grants_of
-- The grants of a case with the slug of their product: the valid ones first, of each installation its newest first, so
-- that no installation displaces those of others.
SELECT g.installation_id, g.grant_id, g.case_id, g.key_id, g.notice, g.ssh, g.received_at, g.not_after,
       g.revoked_at, g.sealed, p.slug AS product
FROM support_grants g
JOIN products p ON p.product_id = g.product_id
WHERE g.case_id = $1
ORDER BY (g.sealed IS NOT NULL AND g.not_after > $3) DESC,
         row_number() OVER (PARTITION BY g.installation_id ORDER BY g.received_at DESC), g.received_at DESC, g.grant_id
LIMIT $2

-- name: erasure_of
-- The erasure of an installation, of which nothing is kept any more.
SELECT erasure_id FROM erased_installations WHERE installation_id = $1

-- name: recent_of
-- The number of other grants that an installation sent since $2, valid or not; of those from browsers, for the case $3
-- only.
SELECT count(*)
FROM support_grants
WHERE installation_id = $1 AND received_at > $2 AND ($3::text IS NULL OR case_id = $3) AND grant_id <> $4

-- name: keep_grant
-- A grant that is there already stays as it is.
INSERT INTO support_grants
    (installation_id, grant_id, product_id, case_id, key_id, notice, ssh, received_at, not_after, sealed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (installation_id, grant_id) DO NOTHING

-- name: revoke_grant
UPDATE support_grants SET revoked_at = $3, sealed = NULL
WHERE installation_id = $1 AND grant_id = $2 AND revoked_at IS NULL

-- name: empty_expired
-- What was sealed goes with the expiry of the grant.
UPDATE support_grants SET sealed = NULL WHERE sealed IS NOT NULL AND not_after <= $1

-- name: forget_expired
DELETE FROM support_grants WHERE not_after < $1

-- name: ask_approval
INSERT INTO support_approvals (approval_id, case_id, asked_at, asked_by, reason) VALUES ($1, $2, $3, $4, $5)

-- name: approvals
-- Those that wait for an approval or for their opening.
SELECT approval_id, case_id, asked_at, asked_by, reason, approved_at, approved_by
FROM support_approvals
WHERE case_id = $1 AND used_at IS NULL AND asked_at > $2
ORDER BY asked_at DESC

-- name: approve
UPDATE support_approvals SET approved_at = $3, approved_by = $4
WHERE approval_id = $1 AND case_id = $2 AND approved_at IS NULL AND used_at IS NULL AND asked_by <> $4 AND asked_at > $5
RETURNING approval_id

-- name: use_approval
-- Each approval is good for one opening.
UPDATE support_approvals SET used_at = $3
WHERE approval_id = (
    SELECT approval_id FROM support_approvals
    WHERE case_id = $1 AND asked_by = $2 AND approved_at > $4 AND used_at IS NULL
    ORDER BY approved_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING approved_by

-- name: make_link
-- For an open case and a product of this slug.
INSERT INTO support_links (link_digest, case_id, product_id, made_at, made_by, expires_at)
SELECT $1, c.case_id, p.product_id, $4, $5, $6
FROM support_cases c, products p
WHERE c.case_id = $2 AND c.closed_at IS NULL AND p.slug = $3
RETURNING case_id

-- name: link
-- A valid link of an open case, and the slug of its product.
SELECT l.case_id, l.product_id, l.expires_at, p.slug AS product
FROM support_links l
JOIN support_cases c ON c.case_id = l.case_id
JOIN products p ON p.product_id = l.product_id
WHERE l.link_digest = $1 AND l.expires_at > $2 AND c.closed_at IS NULL

-- name: forget_links
DELETE FROM support_links WHERE expires_at <= $1

-- name: products
SELECT slug FROM products ORDER BY slug
