-- name: limited_installations
-- Limits of installations set before $1, above which something may still be kept.
SELECT installation_id, level FROM installation_levels WHERE reduced_at IS NULL AND set_at <= $1;

-- name: limited_customers
-- The same of customers, with their licenses.
SELECT c.customer_id, c.level, coalesce(array_agg(l.license_id) FILTER (WHERE l.license_id IS NOT NULL), '{}') AS licenses
FROM customer_levels AS c
LEFT JOIN licenses AS l USING (customer_id)
WHERE c.reduced_at IS NULL AND c.set_at <= $1
GROUP BY c.customer_id, c.level;

-- name: copies_on
-- The installations on these licenses.
SELECT installation_id FROM installation_facts WHERE license_id = ANY ($1::uuid[]);

-- name: lowered
-- The installations whose own level went down after $1 and until $2: to which, and with which ping.
SELECT installation_id, after AS level, max(sequence) AS sequence, max(changed_at) AS changed_at
FROM changes
WHERE field = 'privacy.level' AND changed_at > $1 AND changed_at <= $2
  AND (before = 'usage' AND after IN ('license', 'system') OR before = 'system' AND after = 'license')
GROUP BY installation_id, after;

-- name: installation_is_reduced
UPDATE installation_levels SET reduced_at = $2 WHERE installation_id = $1 AND set_at <= $3;

-- name: customer_is_reduced
UPDATE customer_levels SET reduced_at = $2 WHERE customer_id = $1 AND set_at <= $3;

-- name: lock
-- The writer holds the same lock while it writes pings of the installation.
SELECT last_sequence FROM installations WHERE installation_id = $1 FOR UPDATE;

-- name: remove_usage
-- The counters of pings before the number $2; returns how many pings had some.
WITH done AS (
    UPDATE pings SET counters = NULL, features = NULL, used_since = NULL, details = details - 'usage'
    WHERE installation_id = $1 AND sequence < $2
      AND (num_nonnulls(counters, features, used_since) > 0 OR details ? 'usage')
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: remove_usage_of_days
UPDATE installation_days SET counters = NULL, features = NULL
WHERE installation_id = $1 AND day <= $2 AND num_nonnulls(counters, features) > 0;

-- name: states_above
-- The states of pings before the number $2 that have one of the sections $3.
SELECT s.state
FROM states AS s
WHERE s.installation_id = $1 AND s.facts ?| $3::text[]
  AND EXISTS (SELECT FROM pings AS g
              WHERE g.installation_id = s.installation_id AND g.state = s.state AND g.sequence < $2);

-- name: add_reduced_states
-- The states $2 without the sections $3, by other digests: an equal state that is reported later is whole again.
INSERT INTO states (
    installation_id, state, first_received_at, license_status, license_source, license_key_hash, facts, place
)
SELECT installation_id, decode(md5(state || '\x00'), 'hex'), first_received_at, license_status, license_source,
       license_key_hash, facts - $3::text[], place
FROM states
WHERE installation_id = $1 AND state = ANY ($2::bytea[])
ON CONFLICT DO NOTHING;

-- name: point_pings
UPDATE pings SET state = decode(md5(state || '\x00'), 'hex')
WHERE installation_id = $1 AND state = ANY ($2::bytea[]) AND sequence < $3;

-- name: point_days
UPDATE installation_days SET state = decode(md5(state || '\x00'), 'hex')
WHERE installation_id = $1 AND state = ANY ($2::bytea[]) AND day <= $3;

-- name: point_installation
UPDATE installations SET state = decode(md5(state || '\x00'), 'hex')
WHERE installation_id = $1 AND state = ANY ($2::bytea[]) AND last_sequence < $3;

-- name: remove_changes
-- The values of these sections before the number $2, and those that it replaced.
DELETE FROM changes
WHERE installation_id = $1 AND sequence <= $2 AND split_part(field, '.', 1) = ANY ($3::text[]);

-- name: reduce_forks
UPDATE forks SET facts = facts - $3::text[], details = details - $3::text[]
WHERE installation_id = $1 AND sequence < $2;

-- name: remove_quarantined
DELETE FROM quarantine WHERE installation_id = $1 AND sequence < $2;

-- name: remove_states
-- Those of the states $2 that nothing refers to any more.
DELETE FROM states AS s
WHERE s.installation_id = $1 AND s.state = ANY ($2::bytea[])
  AND NOT EXISTS (SELECT FROM installations AS i WHERE i.installation_id = s.installation_id AND i.state = s.state)
  AND NOT EXISTS (SELECT FROM installation_days AS d WHERE d.installation_id = s.installation_id AND d.state = s.state)
  AND NOT EXISTS (SELECT FROM pings AS g WHERE g.installation_id = s.installation_id AND g.state = s.state);
