-- name: products_shown
-- Every product, with the hints of its keys that are good and how many installations it has.
SELECT p.slug, p.name, p.ping_interval_seconds, p.created_at,
       ARRAY(SELECT k.hint FROM product_keys AS k
             WHERE k.product_id = p.product_id AND k.revoked_at IS NULL
             ORDER BY k.created_at DESC) AS key_hints,
       (SELECT count(*) FROM installations AS i WHERE i.product_id = p.product_id) AS installations
FROM products AS p
ORDER BY p.slug;

-- name: installations
-- A page of installations, the newest identity first, below the identity $15.
-- $1 to $2 is the range of identities asked for; the conditions up to $14 are the same in facets.
-- "none" is what a copy looked for in vain, "unknown" what it did not tell.
-- BETWEEN finds one state just as = does, but = would let the planner expect a single row from the
-- whole join, and sort the fleet instead of walking down the key.
SELECT i.installation_id, p.slug AS product, i.first_received_at, i.last_received_at, i.last_occurred_at,
       i.last_sequence, c.came - i.lost AS pings, upper(i.received) - 1 - c.came AS missing, i.lost,
       abbrev(i.client_address) AS client_address, s.facts, s.place
FROM installations AS i
JOIN products AS p USING (product_id)
JOIN states AS s ON s.installation_id = i.installation_id AND s.state BETWEEN i.state AND i.state
CROSS JOIN LATERAL (
    SELECT CASE WHEN s.facts ? 'virtualization' THEN 'none' ELSE 'unknown' END AS vain
) AS n
CROSS JOIN LATERAL (SELECT sum(upper(r) - lower(r))::bigint AS came FROM unnest(i.received) AS r) AS c
WHERE i.installation_id BETWEEN $1 AND $2
  AND ($3::text IS NULL OR p.slug = $3)
  AND ($4::timestamptz IS NULL OR i.last_received_at >= $4)
  AND ($5::timestamptz IS NULL OR i.first_received_at >= $5)
  AND ($6::text IS NULL OR s.license_status = $6)
  AND ($7::text IS NULL OR coalesce(s.license_source, 'unknown') = $7)
  AND ($8::text IS NULL OR coalesce(s.facts #>> '{service,version}', 'unknown') = $8)
  AND ($9::text IS NULL OR coalesce(s.place ->> 'country', 'unknown') = $9)
  AND ($10::text IS NULL OR coalesce(s.facts #>> '{os,name}', 'unknown') = $10)
  AND ($11::text IS NULL OR coalesce(s.facts #>> '{virtualization,vm}', n.vain) = $11)
  AND ($12::text IS NULL OR coalesce(s.facts #>> '{virtualization,container}', n.vain) = $12)
  AND ($13::text IS NULL OR coalesce(s.facts #>> '{virtualization,cloud}', n.vain) = $13)
  AND ($14::text IS NULL
       OR $14 = 'missing' AND i.received <> int8multirange(int8range(1, upper(i.received)))
       OR $14 = 'lost' AND i.lost > 0
       OR $14 = 'forked' AND EXISTS (SELECT FROM forks AS f WHERE f.installation_id = i.installation_id))
  AND i.installation_id < $15
ORDER BY i.installation_id DESC
LIMIT $16;

-- name: facets
-- How many installations have which value, facet by facet, the most frequent first. A facet's values
-- after the 50th come as one without a name. The conditions are those of installations.
WITH counted AS (
    SELECT facet, value, count(*) AS installations,
           row_number() OVER (PARTITION BY facet ORDER BY count(*) DESC, value) AS place
    FROM installations AS i
    JOIN products AS p USING (product_id)
    JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
    CROSS JOIN LATERAL (
        SELECT CASE WHEN s.facts ? 'virtualization' THEN 'none' ELSE 'unknown' END AS vain
    ) AS n
    CROSS JOIN LATERAL (VALUES
        ('license_status', s.license_status),
        ('license_source', coalesce(s.license_source, 'unknown')),
        ('version', coalesce(s.facts #>> '{service,version}', 'unknown')),
        ('country', coalesce(s.place ->> 'country', 'unknown')),
        ('os_name', coalesce(s.facts #>> '{os,name}', 'unknown')),
        ('vm', coalesce(s.facts #>> '{virtualization,vm}', n.vain)),
        ('container', coalesce(s.facts #>> '{virtualization,container}', n.vain)),
        ('cloud', coalesce(s.facts #>> '{virtualization,cloud}', n.vain))
    ) AS f (facet, value)
    WHERE i.installation_id BETWEEN $1 AND $2
      AND ($3::text IS NULL OR p.slug = $3)
      AND ($4::timestamptz IS NULL OR i.last_received_at >= $4)
      AND ($5::timestamptz IS NULL OR i.first_received_at >= $5)
      AND ($6::text IS NULL OR s.license_status = $6)
      AND ($7::text IS NULL OR coalesce(s.license_source, 'unknown') = $7)
      AND ($8::text IS NULL OR coalesce(s.facts #>> '{service,version}', 'unknown') = $8)
      AND ($9::text IS NULL OR coalesce(s.place ->> 'country', 'unknown') = $9)
      AND ($10::text IS NULL OR coalesce(s.facts #>> '{os,name}', 'unknown') = $10)
      AND ($11::text IS NULL OR coalesce(s.facts #>> '{virtualization,vm}', n.vain) = $11)
      AND ($12::text IS NULL OR coalesce(s.facts #>> '{virtualization,container}', n.vain) = $12)
      AND ($13::text IS NULL OR coalesce(s.facts #>> '{virtualization,cloud}', n.vain) = $13)
      AND ($14::text IS NULL
           OR $14 = 'missing' AND i.received <> int8multirange(int8range(1, upper(i.received)))
           OR $14 = 'lost' AND i.lost > 0
           OR $14 = 'forked' AND EXISTS (SELECT FROM forks AS f WHERE f.installation_id = i.installation_id))
    GROUP BY facet, value
)
SELECT facet, CASE WHEN place <= 50 THEN value END AS value, sum(installations)::bigint AS installations
FROM counted
GROUP BY 1, 2
ORDER BY 1, 2 IS NULL, 3 DESC, 2;
