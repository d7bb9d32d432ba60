-- name: limit_installation
INSERT INTO installation_levels (installation_id, level, set_at) VALUES ($1, $2, $3)
ON CONFLICT (installation_id) DO UPDATE SET level = excluded.level, set_at = excluded.set_at, reduced_at = NULL;

-- name: limit_customer
INSERT INTO customer_levels (customer_id, level, set_at) VALUES ($1, $2, $3)
ON CONFLICT (customer_id) DO UPDATE SET level = excluded.level, set_at = excluded.set_at, reduced_at = NULL;

-- name: free_installation
DELETE FROM installation_levels WHERE installation_id = $1;

-- name: free_customer
DELETE FROM customer_levels WHERE customer_id = $1;

-- name: limited_installations
SELECT installation_id, level, set_at, reduced_at FROM installation_levels ORDER BY set_at DESC LIMIT $1;

-- name: limited_customers
SELECT l.customer_id, c.email, coalesce(c.company, c.name, c.email) AS name, l.level, l.set_at, l.reduced_at
FROM customer_levels AS l
JOIN customers AS c USING (customer_id)
ORDER BY l.set_at DESC
LIMIT $1;

-- name: is_known
SELECT EXISTS (SELECT i.installation_id FROM installations AS i WHERE i.installation_id = $1);
