-- name: sorted_installations
-- A page of $1 installations that match the filter, after the first $2, in an order.
WITH page AS MATERIALIZED (
    SELECT f.installation_id, f.verdict, f.claim_mismatch, f.source_mismatch, f.judged_at, f.license_id,
           f.life, f.life_since, f.hosting, f.version, f.version_key, f.os_name, f.country,
           f.license_source, f.first_received_at
    FROM installation_facts AS f
    LEFT JOIN installations AS i ON i.installation_id = f.installation_id
    WHERE TRUE /*:filter*/
    ORDER BY f.installation_id /*:order*/
    LIMIT $1 OFFSET $2
)
SELECT f.installation_id, f.verdict, f.claim_mismatch, f.source_mismatch, f.judged_at, f.license_id,
       f.life, f.life_since, f.hosting, p.slug AS product, p.simulated, i.first_received_at, i.last_received_at,
       i.last_occurred_at, i.last_sequence, c.came - i.lost AS pings, upper(i.received) - 1 - c.came AS missing,
       i.lost, abbrev(i.client_address) AS client_address, s.facts, s.place
FROM page AS f
JOIN installations AS i ON i.installation_id = f.installation_id
JOIN products AS p ON p.product_id = i.product_id
JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
CROSS JOIN LATERAL (SELECT sum(upper(r) - lower(r))::bigint AS came FROM unnest(i.received) AS r) AS c
ORDER BY f.installation_id /*:order*/;

-- name: pings_of_days
-- Pings of each of the installations $1 by day since the day $2.
SELECT d.installation_id, d.day, d.pings
FROM installation_days AS d
WHERE d.installation_id = ANY ($1::uuid[]) AND d.day >= $2
ORDER BY d.installation_id, d.day;
