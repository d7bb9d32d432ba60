-- name: licenses
-- Every license of a product, in the columns that an import takes, and those that tell of it. The key is
-- not in it: license_id says which license a row is.
SELECT l.license_id, p.slug AS product, l.key_hint, l.status, l.type, l.source, l.source_detail,
       l.order_reference, l.edition, l.seats, l.overage,
       l.customer_id, c.email AS customer_email, c.name AS customer_name, c.company AS customer_company,
       c.tax_id AS customer_tax_id, c.technical_contact AS customer_technical_contact,
       l.domains, ARRAY(SELECT abbrev(a) FROM unnest(l.addresses) WITH ORDINALITY AS n (a, n) ORDER BY n) AS addresses,
       l.directories, l.free_environments, l.starts_at, l.expires_at, nullif(l.custom, '{}') AS custom,
       l.seats_used, l.created_at, l.updated_at
FROM licenses AS l
JOIN products AS p USING (product_id)
LEFT JOIN customers AS c USING (customer_id)
WHERE p.slug = $1;
