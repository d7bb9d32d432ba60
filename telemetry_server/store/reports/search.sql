-- name: installation_of_id
SELECT i.installation_id, p.slug AS product
FROM installations AS i
JOIN products AS p USING (product_id)
WHERE i.installation_id = $1;

-- name: licenses_found
-- Licenses by id, the end of their key, or their order.
SELECT l.license_id, p.slug AS product, l.key_hint, l.status, l.order_reference
FROM licenses AS l
JOIN products AS p USING (product_id)
WHERE (l.license_id = $1 OR l.key_hint = $2 OR l.order_reference = $3) AND ($4::text[] IS NULL OR p.slug = ANY ($4))
ORDER BY l.license_id
LIMIT $5;

-- name: customers_found
-- Customers by id, e-mail, the domain of the e-mail, the account, or the beginnings of words of their company and name.
SELECT c.customer_id, coalesce(c.company, c.name, c.email) AS label,
       (SELECT count(*) FROM licenses AS l WHERE l.customer_id = c.customer_id) AS licenses
FROM customers AS c
WHERE c.customer_id = $1 OR lower(c.email) = $2 OR split_part(lower(c.email), '@', 2) = $3 OR c.account = $4
   OR ($5::text <> '' AND to_tsvector('simple', coalesce(c.company, '') || ' ' || coalesce(c.name, ''))
       @@ to_tsquery('simple', $5))
ORDER BY label, c.customer_id
LIMIT $6;

-- name: operators_found
-- Network operators by a part of their name, those with the most installations first.
SELECT o.asn, o.organisation, o.installations
FROM operators AS o
WHERE strpos(lower(o.organisation), $1) > 0
ORDER BY o.installations DESC, o.asn
LIMIT $2;

-- name: hostnames_found
-- Addresses whose name is $1 or ends with it: host(address) and the name.
SELECT host(h.address) AS address, h.hostname
FROM hostnames AS h
WHERE reverse(lower(h.hostname)) LIKE reverse($1) || '.%' OR reverse(lower(h.hostname)) = reverse($1)
ORDER BY h.address
LIMIT $2;
