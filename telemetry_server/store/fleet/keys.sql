-- name: unknown_keys
-- The keys of copies that match the filter and no license has, the most used first; total: how many there are.
WITH keys AS MATERIALIZED (
    SELECT f.product_id, f.license_key_hash, count(*) AS installations,
           count(*) FILTER (WHERE f.life NOT IN ('late', 'lost')) AS reporting,
           count(*) FILTER (WHERE f.life <> 'lost') AS active,
           count(DISTINCT network(set_masklen(i.client_address, least(
               masklen(i.client_address), CASE family(i.client_address) WHEN 4 THEN 24 ELSE 48 END)))) AS networks,
           count(DISTINCT nullif(f.country, 'unknown')) AS countries,
           count(DISTINCT nullif(f.asn, 'unknown')) AS operators,
           max(s.license_key_hint) AS key_hint, min(f.first_received_at) AS first_received_at,
           max(i.last_received_at) AS last_received_at
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
    WHERE f.verdict = 'unknown_key' AND f.license_key_hash IS NOT NULL AND TRUE /*:filter*/
    GROUP BY f.product_id, f.license_key_hash
)
SELECT k.product_id, p.slug AS product, p.simulated, encode(k.license_key_hash, 'hex') AS key_hash, k.key_hint,
       k.installations, k.reporting, k.active, k.networks, k.countries, k.operators, k.first_received_at, k.last_received_at,
       count(*) OVER () AS total
FROM keys AS k
JOIN products AS p USING (product_id)
ORDER BY k.installations DESC, k.license_key_hash
LIMIT $1 OFFSET $2;

-- name: unknown_key_total
-- The number of such keys.
SELECT count(*)
FROM (
    SELECT f.product_id, f.license_key_hash
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    WHERE f.verdict = 'unknown_key' AND f.license_key_hash IS NOT NULL AND TRUE /*:filter*/
    GROUP BY f.product_id, f.license_key_hash
) AS k;
