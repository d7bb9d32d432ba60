-- name: products_shown
-- Every product, with its keys that are good and how many installations it has.
SELECT p.slug, p.name, p.ping_interval_seconds, p.created_at,
       ARRAY(SELECT k.product_key FROM product_keys AS k
             WHERE k.product_id = p.product_id AND k.revoked_at IS NULL
             ORDER BY k.created_at DESC) AS product_keys,
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
WITH combined AS (
    SELECT s.license_status,
           coalesce(s.license_source, 'unknown') AS license_source,
           coalesce(s.facts #>> '{service,version}', 'unknown') AS version,
           coalesce(s.place ->> 'country', 'unknown') AS country,
           coalesce(s.facts #>> '{os,name}', 'unknown') AS os_name,
           coalesce(s.facts #>> '{virtualization,vm}', n.vain) AS vm,
           coalesce(s.facts #>> '{virtualization,container}', n.vain) AS container,
           coalesce(s.facts #>> '{virtualization,cloud}', n.vain) AS cloud,
           count(*) AS installations
    FROM installations AS i
    JOIN products AS p USING (product_id)
    JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
    CROSS JOIN LATERAL (
        SELECT CASE WHEN s.facts ? 'virtualization' THEN 'none' ELSE 'unknown' END AS vain
    ) AS n
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
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
), counted AS (
    SELECT facet, value, sum(installations) AS installations,
           row_number() OVER (PARTITION BY facet ORDER BY sum(installations) DESC, value) AS place
    FROM combined AS c
    CROSS JOIN LATERAL (VALUES
        ('license_status', c.license_status), ('license_source', c.license_source), ('version', c.version),
        ('country', c.country), ('os_name', c.os_name), ('vm', c.vm), ('container', c.container),
        ('cloud', c.cloud)
    ) AS f (facet, value)
    GROUP BY facet, value
)
SELECT facet, CASE WHEN place <= 50 THEN value END AS value, sum(installations)::bigint AS installations
FROM counted
GROUP BY 1, 2
ORDER BY 1, 2 IS NULL, 3 DESC, 2;

-- name: installation
-- One installation in its present state.
SELECT i.installation_id, p.slug AS product, p.ping_interval_seconds, i.first_received_at,
       i.last_received_at, i.last_occurred_at, i.last_sequence, c.came - i.lost AS pings,
       upper(i.received) - 1 - c.came AS missing, i.lost, i.received,
       abbrev(i.client_address) AS client_address, s.facts, s.place, h.hostname,
       h.looked_up_at AS hostname_looked_up_at
FROM installations AS i
JOIN products AS p USING (product_id)
JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
LEFT JOIN hostnames AS h ON h.address = i.client_address
CROSS JOIN LATERAL (SELECT sum(upper(r) - lower(r))::bigint AS came FROM unnest(i.received) AS r) AS c
WHERE i.installation_id = $1;

-- name: forks_of
-- The newest pings of an installation whose numbers were taken.
SELECT f.sequence, f.ping_id, f.stored_ping_id, f.received_at, f.occurred_at,
       abbrev(f.client_address) AS client_address, f.facts, f.place
FROM forks AS f
WHERE f.installation_id = $1
ORDER BY f.received_at DESC, f.sequence DESC, f.ping_id
LIMIT 100;

-- name: fork_count
-- How many there are of them.
SELECT count(*) FROM forks WHERE installation_id = $1;

-- name: lineage_of
-- The identity this copy had before, and those that copies of this one went on with.
SELECT l.installation_id, l.parent_id, l.enrolled_at
FROM lineage AS l
WHERE l.installation_id = $1 OR l.parent_id = $1
ORDER BY l.enrolled_at DESC, l.installation_id
LIMIT 100;

-- name: features_of
-- How often an installation used its features, over the pings that are kept.
SELECT f.key AS feature, sum(f.value::numeric) AS uses, count(*) AS pings
FROM pings AS g
CROSS JOIN LATERAL jsonb_each_text(g.features) AS f
WHERE g.installation_id = $1
GROUP BY f.key
ORDER BY uses DESC, f.key
LIMIT 1000;

-- name: history
-- The pings of an installation below the number $2, the highest number first, each with its facts.
SELECT g.ping_id, g.sequence, g.received_at, g.occurred_at, g.time_suspect,
       abbrev(g.client_address) AS client_address, g.details, g.features, g.state, s.facts, s.place
FROM pings AS g
JOIN states AS s ON s.installation_id = g.installation_id AND s.state BETWEEN g.state AND g.state
WHERE g.installation_id = $1 AND g.sequence < $2
ORDER BY g.sequence DESC
LIMIT $3;

-- name: pings
-- A page of pings received from $1 until before $2, the newest first, below the key $3, $4, $5.
-- BETWEEN: as in installations.
SELECT g.ping_id, g.sequence, g.installation_id, p.slug AS product, g.received_at, g.occurred_at,
       g.time_suspect, abbrev(g.client_address) AS client_address, g.details, g.features, s.facts, s.place
FROM pings AS g
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
JOIN states AS s ON s.installation_id = g.installation_id AND s.state BETWEEN g.state AND g.state
WHERE g.received_at >= $1 AND g.received_at < $2
  AND (g.received_at, g.installation_id, g.sequence) < ($3, $4, $5)
ORDER BY g.received_at DESC, g.installation_id DESC, g.sequence DESC
LIMIT $6;

-- name: pings_of_installation
-- The same of one installation, $7.
SELECT g.ping_id, g.sequence, g.installation_id, p.slug AS product, g.received_at, g.occurred_at,
       g.time_suspect, abbrev(g.client_address) AS client_address, g.details, g.features, s.facts, s.place
FROM pings AS g
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
JOIN states AS s ON s.installation_id = g.installation_id AND s.state BETWEEN g.state AND g.state
WHERE g.received_at >= $1 AND g.received_at < $2
  AND (g.received_at, g.installation_id, g.sequence) < ($3, $4, $5)
  AND g.installation_id = $7
ORDER BY g.received_at DESC, g.installation_id DESC, g.sequence DESC
LIMIT $6;

-- name: changes
-- A page of what changed from $1 until before $2, of the field $8 or of any, the newest first, below the
-- key $3, $4, $5, $6.
SELECT c.installation_id, c.changed_at, c.sequence, c.field, c.before, c.after
FROM changes AS c
WHERE c.changed_at >= $1 AND c.changed_at < $2 AND c.changed_at <= $3
  AND (c.changed_at, c.installation_id, c.sequence, c.field) < ($3, $4, $5, $6)
  AND ($8::text IS NULL OR c.field = $8)
ORDER BY c.changed_at DESC, c.installation_id DESC, c.sequence DESC, c.field DESC
LIMIT $7;

-- name: changes_of_installation
-- Likewise, of the installation $9.
SELECT c.installation_id, c.changed_at, c.sequence, c.field, c.before, c.after
FROM changes AS c
WHERE c.installation_id = $9 AND c.changed_at >= $1 AND c.changed_at < $2
  AND (c.changed_at, c.installation_id, c.sequence, c.field) < ($3, $4, $5, $6)
  AND ($8::text IS NULL OR c.field = $8)
ORDER BY c.changed_at DESC, c.sequence DESC, c.field DESC
LIMIT $7;
