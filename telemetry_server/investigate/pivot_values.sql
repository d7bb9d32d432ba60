-- name: copies_with
-- The newest $2 installations that have one of the values $1, with their other values.
SELECT f.installation_id::text AS installation_id, p.slug AS product, f.verdict, f.license_id,
       encode(f.license_key_hash, 'hex') AS key, s.license_key_hint AS hint, abbrev(i.client_address) AS address,
       f.asn, s.organisation
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
JOIN products AS p ON p.product_id = f.product_id
WHERE f.license_id=ANY($1::text[]::uuid[]) /*:has*/
ORDER BY i.last_received_at DESC, f.installation_id
LIMIT $2;

-- name: how_many_share
-- The number of installations that have each of the values $1, and their licenses.
SELECT f.license_id::text /*:value*/ AS value, count(*) AS copies,
       array_agg(DISTINCT f.license_id) FILTER (WHERE f.license_id IS NOT NULL) AS licenses,
       coalesce(bool_or(f.hosting), false) AS of_hosting
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.license_id=ANY($1::text[]::uuid[]) /*:has*/
GROUP BY 1;

-- name: licenses
-- The licenses $1 with their customers.
SELECT l.license_id, l.key_hint, l.customer_id::text AS customer_id,
       coalesce(c.company, c.name, c.email, c.account) AS customer
FROM licenses AS l
LEFT JOIN customers AS c ON c.customer_id = l.customer_id
WHERE l.license_id = ANY ($1);

-- name: licenses_of_customer
SELECT license_id FROM licenses WHERE customer_id = $1;

-- name: network_of
-- What is known of where the installation $1 runs.
SELECT f.license_id, s.organisation AS operator, coalesce(f.hosting, false) AS of_hosting, h.hostname
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
LEFT JOIN hostnames AS h ON h.address = i.client_address
WHERE f.installation_id = $1;

-- name: owner_of
SELECT c.company, c.email AS mail
FROM licenses AS l
JOIN customers AS c ON c.customer_id = l.customer_id
WHERE l.license_id = $1;
