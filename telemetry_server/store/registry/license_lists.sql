-- name: licenses_shown
-- A page of the licenses that match the filter, in the caller's order.
SELECT l.license_id, p.slug AS product, p.simulated, p.time_zone, l.customer_id, l.key_hint, l.status, l.type, l.source,
       l.source_detail, l.order_reference, l.edition, l.seats, l.seats_used, l.overage, l.starts_at, l.expires_at,
       l.created_at, l.updated_at, l.over_since
FROM licenses AS l
JOIN products AS p USING (product_id)
WHERE TRUE /*:filter*/
ORDER BY l.license_id /*:order*/
LIMIT $1 OFFSET $2;

-- name: license_totals
-- The number of licenses that match the filter, and of those on each tab; $1 is now, $2 the end of "soon".
SELECT count(*)                                                                     AS "all",
       count(*) FILTER (WHERE l.seats_used > l.seats)                               AS over,
       count(*) FILTER (WHERE l.status = 'active' AND l.expires_at >= $1 AND l.expires_at < $2) AS expiring,
       count(*) FILTER (WHERE l.status = 'active' AND l.expires_at >= $1 AND l.expires_at < $2 AND l.seats_used > 0)
                                                                                    AS expiring_in_use,
       count(*) FILTER (WHERE l.status = 'active' AND l.seats_used = 0)             AS unused,
       count(*) FILTER (WHERE l.status <> 'active')                                 AS ended
FROM licenses AS l
WHERE TRUE /*:filter*/;

-- name: expiries
-- The active licenses that match the filter and expire from $1 on, by the month of their last day in the time zone of
-- their product, and how many of them are in use.
SELECT date_trunc('month', (l.expires_at - interval '1 microsecond') AT TIME ZONE p.time_zone)::date AS month,
       count(*) AS licenses, count(*) FILTER (WHERE l.seats_used > 0) AS in_use
FROM licenses AS l
JOIN products AS p USING (product_id)
WHERE l.status = 'active' AND l.expires_at >= $1 AND l.expires_at < $2 AND TRUE /*:filter*/
GROUP BY 1
ORDER BY 1;

-- name: customers_shown
-- A page of customers in the caller's order, each with the sums of its licenses. The text $3 is in one of their names.
SELECT c.customer_id, c.email, c.name, c.company, c.account, c.created_at,
       coalesce(l.licenses, 0) AS licenses, coalesce(l.seats_used, 0) AS seats_used, l.seats, coalesce(l.over, 0) AS over,
       l.next_expiry
FROM customers AS c
LEFT JOIN (
    SELECT customer_id, count(*) AS licenses, sum(seats_used) AS seats_used, sum(seats) AS seats,
           count(*) FILTER (WHERE seats_used > seats) AS over,
           min(expires_at) FILTER (WHERE status = 'active' AND expires_at >= $4) AS next_expiry
    FROM licenses
    GROUP BY customer_id
) AS l USING (customer_id)
WHERE ($3::text IS NULL OR position($3 IN lower(concat_ws(' ', c.email, c.name, c.company, c.account))) > 0)
  AND TRUE /*:filter*/
ORDER BY c.customer_id /*:order*/
LIMIT $1 OFFSET $2;

-- name: customer_total
-- The number of customers that match.
SELECT count(*)
FROM customers AS c
WHERE ($1::text IS NULL OR position($1 IN lower(concat_ws(' ', c.email, c.name, c.company, c.account))) > 0)
  AND TRUE /*:filter*/;

-- name: customer_names
-- The name to show for each of these customers.
SELECT customer_id, coalesce(company, name, email) AS name FROM customers WHERE customer_id = ANY ($1::uuid[]);

-- name: license_owners
-- The customer of each license of these customers.
SELECT license_id, customer_id FROM licenses WHERE customer_id = ANY ($1::uuid[]);

-- name: licenses_named
-- The licenses $1 with what names them in a list.
SELECT l.license_id, l.key_hint, l.seats, l.seats_used, l.customer_id, coalesce(c.company, c.name, c.email) AS customer
FROM licenses AS l
LEFT JOIN customers AS c USING (customer_id)
WHERE l.license_id = ANY ($1::uuid[]);
