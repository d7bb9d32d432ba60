-- name: facts_by_verdict
-- The copies still in use on each license, of the verdict $1. A license can be wrong for several products.
SELECT CASE WHEN $1 = 'wrong_product' THEN f.product_id::text || '/' ELSE '' END || f.license_id::text AS subject,
       f.product_id, f.license_id, count(*) AS copies, count(*) FILTER (WHERE f.claim_mismatch) AS claims,
       count(DISTINCT nullif(f.country, 'unknown')) AS countries, count(DISTINCT nullif(f.asn, 'unknown')) AS networks,
       min(f.first_received_at) AS first_at, max(i.last_received_at) AS last_at
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.verdict = $1 AND f.life <> 'lost' AND f.license_id IS NOT NULL
GROUP BY f.product_id, f.license_id
ORDER BY CASE WHEN $1 = 'wrong_product' THEN f.product_id END, f.license_id;

-- name: facts_without_key
-- The copies still in use of each product that name no key.
SELECT f.product_id::text AS subject, f.product_id, NULL::uuid AS license_id, count(*) AS copies,
       count(*) FILTER (WHERE f.claim_mismatch) AS claims,
       count(DISTINCT nullif(f.country, 'unknown')) AS countries, count(DISTINCT nullif(f.asn, 'unknown')) AS networks,
       min(f.first_received_at) AS first_at, max(i.last_received_at) AS last_at
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.verdict = 'no_key' AND f.life <> 'lost'
GROUP BY f.product_id
ORDER BY f.product_id;

-- name: facts_by_claim
-- The copies still in use on each license that have one of the verdicts $1, and claim another status. Claims that
-- contradict other verdicts are evidence of the doubts about these.
SELECT coalesce(f.license_id, f.product_id)::text AS subject, f.product_id, f.license_id, count(*) AS copies,
       min(f.license_status) AS claimed,
       count(DISTINCT nullif(f.country, 'unknown')) AS countries, count(DISTINCT nullif(f.asn, 'unknown')) AS networks,
       min(f.first_received_at) AS first_at, max(i.last_received_at) AS last_at
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.claim_mismatch AND f.verdict = ANY ($1::text[]) AND f.life <> 'lost'
GROUP BY f.product_id, f.license_id
ORDER BY coalesce(f.license_id, f.product_id);

-- name: facts_by_source
-- The copies still in use on each license that name another source of it than the registry.
SELECT f.license_id::text AS subject, f.product_id, f.license_id, min(f.license_source) AS claimed, count(*) AS copies,
       count(DISTINCT nullif(f.country, 'unknown')) AS countries, count(DISTINCT nullif(f.asn, 'unknown')) AS networks,
       min(f.first_received_at) AS first_at, max(i.last_received_at) AS last_at
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.source_mismatch AND f.verdict <> 'wrong_product' AND f.life <> 'lost' AND f.license_id IS NOT NULL
GROUP BY f.product_id, f.license_id
ORDER BY f.license_id;

-- name: facts_by_key
-- The copies still in use with each key that no license has.
SELECT f.product_id, encode(f.license_key_hash, 'hex') AS key_hash, max(s.license_key_hint) AS key_hint, count(*) AS copies,
       count(*) FILTER (WHERE f.claim_mismatch) AS claims,
       count(DISTINCT nullif(f.country, 'unknown')) AS countries, count(DISTINCT nullif(f.asn, 'unknown')) AS networks,
       min(f.first_received_at) AS first_at, max(i.last_received_at) AS last_at
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
WHERE f.verdict = 'unknown_key' AND f.life <> 'lost' AND f.license_key_hash IS NOT NULL
GROUP BY f.product_id, f.license_key_hash
ORDER BY f.product_id, f.license_key_hash;

-- name: facts_by_fork
-- The identities that two copies continued, with forks since $1.
SELECT f.product_id, f.installation_id, min(f.license_id::text) AS license_id, count(*) AS forks,
       count(DISTINCT k.client_address) AS addresses, min(k.received_at) AS first_at, max(k.received_at) AS last_at
FROM forks AS k
JOIN installation_facts AS f ON f.installation_id = k.installation_id
WHERE k.received_at >= $1
GROUP BY f.product_id, f.installation_id
ORDER BY f.installation_id;

-- name: facts_by_expiry
-- The licenses in use that expire between $1 and $2.
SELECT product_id, license_id, seats_used, expires_at, created_at, updated_at
FROM licenses
WHERE status = 'active' AND expires_at >= $1 AND expires_at < $2 AND seats_used > 0
ORDER BY license_id;

-- name: copies_with_key
-- The copies of a product with a key of that hash, the last seen first.
SELECT f.installation_id, f.verdict, f.life, f.version, f.country, f.first_received_at, i.last_received_at
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.product_id = $1 AND f.license_key_hash = $2
ORDER BY i.last_received_at DESC, f.installation_id
LIMIT $3;
