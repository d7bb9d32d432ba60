-- name: limit_rule
SELECT set_config('statement_timeout', $1, true);

-- name: fleet_size
SELECT count(*) FROM installation_facts WHERE product_id = $1;

-- name: open_findings
SELECT finding_id, subject_id, family, strength, first_seen, last_seen, evidence, unscored
FROM findings
WHERE product_id = $1 AND rule = $2 AND closed_at IS NULL;

-- name: exempt_copies
-- Those of the installations $1 that count for nothing: in an environment $2, or in a network $3.
SELECT f.installation_id, CASE WHEN lower(f.environment) = ANY ($2::text[]) THEN 'environment' ELSE 'allowed network' END AS why
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.installation_id = ANY ($1::uuid[])
  AND (lower(f.environment) = ANY ($2::text[]) OR i.client_address <<= ANY ($3::cidr[]) IS TRUE);

-- name: copies_with_news
-- Those of the installations $1 that reported since $2.
SELECT installation_id FROM installations WHERE installation_id = ANY ($1::uuid[]) AND last_received_at >= $2;

-- name: open_new_findings
INSERT INTO findings (finding_id, product_id, rule, family, subject_kind, subject_id, strength, first_seen, last_seen,
                      evidence, unscored, opened_at)
SELECT n.finding_id, $2, $3, $4, $5, n.subject_id, n.strength, n.first_seen, n.last_seen, n.evidence, n.unscored, $6
FROM jsonb_to_recordset($1::jsonb) AS n (
    finding_id uuid, subject_id text, strength float8, first_seen timestamptz, last_seen timestamptz, evidence jsonb,
    unscored text
);

-- name: update_findings
UPDATE findings AS f SET
    family     = $2,
    strength   = n.strength,
    first_seen = n.first_seen,
    last_seen  = n.last_seen,
    evidence   = n.evidence,
    unscored   = n.unscored
FROM jsonb_to_recordset($1::jsonb) AS n (
    finding_id uuid, strength float8, first_seen timestamptz, last_seen timestamptz, evidence jsonb, unscored text
)
WHERE f.finding_id = n.finding_id;

-- name: close_findings
UPDATE findings SET closed_at = $2, closed_why = $3 WHERE finding_id = ANY ($1::uuid[]);

-- name: close_rules
-- Closes the findings of rules that are none of $1 any more.
UPDATE findings SET closed_at = $2, closed_why = 'the rule no longer runs' WHERE closed_at IS NULL AND rule <> ALL ($1::text[]);

-- name: erased_copies
-- Those of the installations $1 that are erased.
SELECT installation_id FROM erased_installations WHERE installation_id = ANY ($1::uuid[]);

-- name: named_installations
-- The installations that evidence names.
SELECT DISTINCT e.installation_id::uuid AS installation_id
FROM findings AS f
CROSS JOIN LATERAL jsonb_array_elements_text(f.evidence -> 'installations') AS e (installation_id);

-- name: delete_findings_of
DELETE FROM findings AS f
WHERE EXISTS (
    SELECT e.installation_id
    FROM jsonb_array_elements_text(f.evidence -> 'installations') AS e (installation_id)
    WHERE e.installation_id::uuid = ANY ($1::uuid[])
);

-- name: forget_names
-- The cases of customers that were erased keep no name.
UPDATE cases AS c SET name = 'An erased customer'
WHERE c.subject_kind = 'customer' AND c.name <> 'An erased customer'
  AND c.subject_id NOT IN (SELECT k.customer_id::text FROM customers AS k);

-- name: copies
-- What the installations $1 belong to.
SELECT f.installation_id, f.license_id, encode(f.license_key_hash, 'hex') AS key,
       CASE WHEN masklen(i.client_address) NOT IN (32, 128) THEN NULL
            WHEN family(i.client_address) = 4 THEN host(i.client_address)
            ELSE text(network(set_masklen(i.client_address, 64))) END AS network
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.installation_id = ANY ($1::uuid[]);

-- name: copies_of_product
-- What the installations of the product $1 belong to.
SELECT f.installation_id, f.license_id, encode(f.license_key_hash, 'hex') AS key,
       CASE WHEN masklen(i.client_address) NOT IN (32, 128) THEN NULL
            WHEN family(i.client_address) = 4 THEN host(i.client_address)
            ELSE text(network(set_masklen(i.client_address, 64))) END AS network
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.product_id = $1;

-- name: licenses
-- The licenses with one of the ids $1, or one of the keys $2 (hexadecimal), each with the keys it was asked for.
SELECT l.license_id, l.customer_id,
       ARRAY(SELECT encode(k.key_hash, 'hex') FROM license_keys AS k
             WHERE k.license_id = l.license_id AND encode(k.key_hash, 'hex') = ANY ($2::text[])) AS keys
FROM licenses AS l
WHERE l.license_id = ANY ($1::uuid[])
   OR l.license_id IN (SELECT k.license_id FROM license_keys AS k
                       WHERE k.key_hash = ANY (SELECT decode(x.key, 'hex') FROM unnest($2::text[]) AS x (key)));

-- name: findings_of_product
-- The open findings of the product $1, and the case that has each; case_id is NULL before it has one.
SELECT f.finding_id, f.rule, f.family, f.subject_kind, f.subject_id, f.strength, f.first_seen, f.last_seen, f.evidence,
       f.unscored, m.case_id
FROM findings AS f
LEFT JOIN case_findings AS m ON m.finding_id = f.finding_id AND m.removed_at IS NULL
WHERE f.product_id = $1 AND f.closed_at IS NULL
ORDER BY f.opened_at, f.finding_id;

-- name: newly_closed
-- Findings of the product $1 that were closed at $2, and their cases.
SELECT m.case_id, f.rule, f.subject_id, f.closed_why
FROM findings AS f
JOIN case_findings AS m ON m.finding_id = f.finding_id AND m.removed_at IS NULL
WHERE f.product_id = $1 AND f.closed_at = $2;

-- name: cases_of_product
SELECT case_id, subject_kind, subject_id, state, wait_until, score, waterfall, first_seen, last_seen, merged_into
FROM cases
WHERE product_id = $1;

-- name: names_of_customers
SELECT customer_id, left(coalesce(company, name, email), 300) AS name FROM customers WHERE customer_id = ANY ($1::uuid[]);

-- name: names_of_licenses
SELECT license_id, key_hint FROM licenses WHERE license_id = ANY ($1::uuid[]);

-- name: open_cases
INSERT INTO cases (case_id, product_id, subject_kind, subject_id, name, score, waterfall, first_seen, last_seen, opened_at)
SELECT n.case_id, $2, n.subject_kind, n.subject_id, n.name, 0, '{}', n.first_seen, n.last_seen, $3
FROM jsonb_to_recordset($1::jsonb) AS n (
    case_id uuid, subject_kind text, subject_id text, name text, first_seen timestamptz, last_seen timestamptz
);

-- name: add_findings
INSERT INTO case_findings (case_id, finding_id, added_at)
SELECT n.case_id, n.finding_id, $2
FROM jsonb_to_recordset($1::jsonb) AS n (case_id uuid, finding_id uuid);

-- name: update_cases
UPDATE cases AS c SET
    score      = n.score,
    waterfall  = n.waterfall,
    first_seen = n.first_seen,
    last_seen  = n.last_seen,
    state      = n.state,
    wait_until = CASE WHEN n.state = 'waiting' THEN c.wait_until END
FROM jsonb_to_recordset($1::jsonb) AS n (
    case_id uuid, score float8, waterfall jsonb, first_seen timestamptz, last_seen timestamptz, state text
)
WHERE c.case_id = n.case_id;

-- name: record_history
INSERT INTO case_history (history_id, case_id, at, by, what)
SELECT n.history_id, n.case_id, $2, $3, n.what
FROM jsonb_to_recordset($1::jsonb) AS n (history_id uuid, case_id uuid, what jsonb);

-- name: queue
-- The cases of the product $1 with open findings that were not merged into another, those worth a look first.
SELECT c.case_id, c.subject_kind, c.subject_id, c.name, c.state, c.wait_until, c.owner, c.decision, c.score, c.waterfall,
       c.first_seen, c.last_seen, c.opened_at,
       array_agg(DISTINCT f.rule) AS rules,
       jsonb_agg(f.evidence -> 'installations') AS installations
FROM cases AS c
JOIN case_findings AS m ON m.case_id = c.case_id AND m.removed_at IS NULL
JOIN findings AS f ON f.finding_id = m.finding_id AND f.closed_at IS NULL
WHERE c.product_id = $1 AND c.merged_into IS NULL
GROUP BY c.case_id
ORDER BY c.score DESC, c.case_id;
