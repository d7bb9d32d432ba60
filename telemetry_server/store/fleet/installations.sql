-- name: products_shown
-- Every product, with its valid keys and its number of installations.
SELECT p.slug, p.name, p.ping_interval_seconds, p.created_at, p.simulated,
       ARRAY(SELECT k.product_key FROM product_keys AS k
             WHERE k.product_id = p.product_id AND k.revoked_at IS NULL
             ORDER BY k.created_at DESC) AS product_keys,
       coalesce(f.installations, 0) AS installations
FROM products AS p
LEFT JOIN (
    SELECT product_id, count(*) AS installations FROM installation_facts GROUP BY product_id
) AS f USING (product_id)
ORDER BY p.slug;

-- name: product_names
-- Likewise, but only whether there is any installation at all: for the head of a page.
SELECT p.slug, p.name, p.simulated,
       ARRAY(SELECT k.product_key FROM product_keys AS k
             WHERE k.product_id = p.product_id AND k.revoked_at IS NULL
             ORDER BY k.created_at DESC) AS product_keys,
       (SELECT i.installation_id FROM installations AS i LIMIT 1) IS NOT NULL AS in_use
FROM products AS p
ORDER BY p.slug;

-- name: installations
-- A page of installations that match the filter, the newest identity first, below the identity $1.
-- Unless the filter names a column of installations, these are read for the rows of the page only: the planner
-- removes a join whose columns are not used.
WITH page AS MATERIALIZED (
    SELECT f.installation_id, f.verdict, f.claim_mismatch, f.source_mismatch, f.judged_at, f.license_id,
           f.life, f.life_since, f.hosting
    FROM installation_facts AS f
    LEFT JOIN installations AS i ON i.installation_id = f.installation_id
    WHERE f.installation_id < $1 AND TRUE /*:filter*/
    ORDER BY f.installation_id DESC
    LIMIT $2
)
SELECT f.*, p.slug AS product, p.simulated, i.first_received_at, i.last_received_at, i.last_occurred_at,
       i.last_sequence, c.came - i.lost AS pings, upper(i.received) - 1 - c.came AS missing, i.lost,
       abbrev(i.client_address) AS client_address, s.facts, s.place
FROM page AS f
JOIN installations AS i ON i.installation_id = f.installation_id
JOIN products AS p ON p.product_id = i.product_id
JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
CROSS JOIN LATERAL (SELECT sum(upper(r) - lower(r))::bigint AS came FROM unnest(i.received) AS r) AS c
ORDER BY f.installation_id DESC;

-- name: matching
-- How many installations match the filter.
SELECT count(*)
FROM installation_facts AS f
LEFT JOIN installations AS i ON i.installation_id = f.installation_id
WHERE TRUE /*:filter*/;

-- name: facets
-- How many of the newest $1 installations that match the filter have each value, by field, the most frequent
-- first. The values of a field after the 50th are one row, whose value is NULL.
WITH wanted AS MATERIALIZED (
    SELECT f.verdict /*:columns*/
    FROM installation_facts AS f
    LEFT JOIN installations AS i ON i.installation_id = f.installation_id
    WHERE TRUE /*:filter*/
    ORDER BY f.installation_id DESC
    LIMIT $1
), counted AS (
    SELECT 'verdict' /*:dimension*/ AS field, verdict /*:value*/ AS value, count(*) AS installations
    FROM wanted
    GROUP BY GROUPING SETS ( verdict /*:sets*/ )
), placed AS (
    SELECT field, value, installations,
           row_number() OVER (PARTITION BY field ORDER BY installations DESC, value) AS place
    FROM counted
)
SELECT field, CASE WHEN place <= 50 THEN value END AS value, sum(installations)::bigint AS installations
FROM placed
GROUP BY 1, 2
ORDER BY 1, bool_or(place > 50), 3 DESC, 2;

-- name: installation
-- One installation in its present state.
SELECT i.installation_id, p.slug AS product, p.simulated, p.ping_interval_seconds, i.first_received_at,
       i.last_received_at, i.last_occurred_at, i.last_sequence, c.came - i.lost AS pings,
       upper(i.received) - 1 - c.came AS missing, i.lost, i.received,
       abbrev(i.client_address) AS client_address, s.facts, s.place, h.hostname,
       h.looked_up_at AS hostname_looked_up_at, f.license_status, f.license_source, f.verdict,
       f.claim_mismatch, f.source_mismatch, f.judged_at, f.judge_again, f.license_id, f.life,
       f.life_since
FROM installations AS i
JOIN installation_facts AS f USING (installation_id)
JOIN products AS p ON p.product_id = i.product_id
JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
LEFT JOIN hostnames AS h ON h.address = i.client_address
CROSS JOIN LATERAL (SELECT sum(upper(r) - lower(r))::bigint AS came FROM unnest(i.received) AS r) AS c
WHERE i.installation_id = $1;

-- name: license_shown
-- The license that a verdict is based on.
SELECT l.license_id, p.slug AS product, l.key_hint, l.status, l.type, l.source, l.seats, l.seats_used,
       l.overage, l.starts_at, l.expires_at, p.time_zone, l.stale
FROM licenses AS l
JOIN products AS p USING (product_id)
WHERE l.license_id = $1;

-- name: forks_of
-- The newest forks of an installation: pings whose sequence numbers another ping has.
SELECT f.sequence, f.ping_id, f.stored_ping_id, f.received_at, f.occurred_at,
       abbrev(f.client_address) AS client_address, f.facts, f.place
FROM forks AS f
WHERE f.installation_id = $1
ORDER BY f.received_at DESC, f.sequence DESC, f.ping_id
LIMIT 100;

-- name: fork_count
-- How many forks there are.
SELECT count(*) FROM forks WHERE installation_id = $1;

-- name: lineage_of
-- The identity this copy had before, and the identities of its forked copies.
SELECT l.installation_id, l.parent_id, l.enrolled_at
FROM lineage AS l
WHERE l.installation_id = $1 OR l.parent_id = $1
ORDER BY l.enrolled_at DESC, l.installation_id
LIMIT 100;

-- name: features_of
-- How often an installation used its features, in the stored pings.
SELECT coalesce(n.name, u.name) AS feature, sum(u.uses) AS uses, sum(u.pings)::bigint AS pings
FROM (
    SELECT u.number, u.name, sum(u.uses) AS uses, count(*) AS pings
    FROM pings AS g
    CROSS JOIN LATERAL feature_uses(g.counters, g.features) AS u
    WHERE g.installation_id = $1
    GROUP BY u.number, u.name
) AS u
LEFT JOIN feature_names AS n ON n.number = u.number
GROUP BY coalesce(n.name, u.name)
ORDER BY uses DESC, feature
LIMIT 1000;

-- name: history
-- The pings of an installation below the number $2, the highest number first, each with its facts.
SELECT g.ping_id, g.sequence, g.received_at, g.occurred_at, g.time_suspect,
       abbrev(g.client_address) AS client_address,
       ping_details(g.reason_code, g.used_since, g.details) AS details,
       (SELECT jsonb_object_agg(coalesce(n.name, u.name), u.uses)
        FROM (SELECT u.* FROM feature_uses(g.counters, g.features) AS u OFFSET 0) AS u
        LEFT JOIN feature_names AS n ON n.number = u.number) AS features,
       g.state, s.facts, s.place
FROM pings AS g
JOIN states AS s ON s.installation_id = g.installation_id AND s.state BETWEEN g.state AND g.state
WHERE g.installation_id = $1 AND g.sequence < $2
ORDER BY g.sequence DESC
LIMIT $3;

-- name: pings
-- A page of pings received from $1 until before $2, the newest first, below the key $3, $4, $5.
-- BETWEEN finds one state as = does, but with = the planner expects a single row from the whole join, and sorts
-- the pings instead of reading them in the order of the key.
SELECT g.ping_id, g.sequence, g.installation_id, p.slug AS product, p.simulated, g.received_at, g.occurred_at,
       g.time_suspect, abbrev(g.client_address) AS client_address,
       ping_details(g.reason_code, g.used_since, g.details) AS details,
       (SELECT jsonb_object_agg(coalesce(n.name, u.name), u.uses)
        FROM (SELECT u.* FROM feature_uses(g.counters, g.features) AS u OFFSET 0) AS u
        LEFT JOIN feature_names AS n ON n.number = u.number) AS features,
       s.facts, s.place, coalesce(verdict_of(g.verdict_code), g.verdict) AS verdict, g.claim_mismatch,
       g.source_mismatch
FROM pings AS g
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
JOIN states AS s ON s.installation_id = g.installation_id AND s.state BETWEEN g.state AND g.state
WHERE g.received_at >= $1 AND g.received_at < $2
  AND (g.received_at, g.installation_id, g.sequence) < ($3, $4, $5)
  AND TRUE /*:products*/
ORDER BY g.received_at DESC, g.installation_id DESC, g.sequence DESC
LIMIT $6;

-- name: pings_of_installation
-- The same of one installation, $7.
SELECT g.ping_id, g.sequence, g.installation_id, p.slug AS product, p.simulated, g.received_at, g.occurred_at,
       g.time_suspect, abbrev(g.client_address) AS client_address,
       ping_details(g.reason_code, g.used_since, g.details) AS details,
       (SELECT jsonb_object_agg(coalesce(n.name, u.name), u.uses)
        FROM (SELECT u.* FROM feature_uses(g.counters, g.features) AS u OFFSET 0) AS u
        LEFT JOIN feature_names AS n ON n.number = u.number) AS features,
       s.facts, s.place, coalesce(verdict_of(g.verdict_code), g.verdict) AS verdict, g.claim_mismatch,
       g.source_mismatch
FROM pings AS g
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
JOIN states AS s ON s.installation_id = g.installation_id AND s.state BETWEEN g.state AND g.state
WHERE g.received_at >= $1 AND g.received_at < $2
  AND (g.received_at, g.installation_id, g.sequence) < ($3, $4, $5)
  AND g.installation_id = $7
  AND TRUE /*:products*/
ORDER BY g.received_at DESC, g.installation_id DESC, g.sequence DESC
LIMIT $6;

-- name: changes
-- A page of what changed from $1 until before $2, of the field $8 or of any, the newest first, below the
-- key $3, $4, $5, $6.
WITH page AS MATERIALIZED (
    SELECT c.installation_id, c.changed_at, c.sequence, c.field, c.before, c.after
    FROM changes AS c
    WHERE c.changed_at >= $1 AND c.changed_at < $2 AND c.changed_at <= $3
      AND (c.changed_at, c.installation_id, c.sequence, c.field) < ($3, $4, $5, $6)
      AND ($8::text IS NULL OR c.field = $8)
      AND TRUE /*:products*/
    ORDER BY c.changed_at DESC, c.installation_id DESC, c.sequence DESC, c.field DESC
    LIMIT $7
)
SELECT c.installation_id, p.slug AS product, p.simulated, c.changed_at, c.sequence, c.field, c.before, c.after
FROM page AS c
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
ORDER BY c.changed_at DESC, c.installation_id DESC, c.sequence DESC, c.field DESC;

-- name: changes_of_installation
-- Likewise, of the installation $9.
WITH page AS MATERIALIZED (
    SELECT c.installation_id, c.changed_at, c.sequence, c.field, c.before, c.after
    FROM changes AS c
    WHERE c.installation_id = $9 AND c.changed_at >= $1 AND c.changed_at < $2
      AND (c.changed_at, c.installation_id, c.sequence, c.field) < ($3, $4, $5, $6)
      AND ($8::text IS NULL OR c.field = $8)
      AND TRUE /*:products*/
    ORDER BY c.changed_at DESC, c.sequence DESC, c.field DESC
    LIMIT $7
)
SELECT c.installation_id, p.slug AS product, p.simulated, c.changed_at, c.sequence, c.field, c.before, c.after
FROM page AS c
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
ORDER BY c.changed_at DESC, c.installation_id DESC, c.sequence DESC, c.field DESC;
