-- name: write_group
-- Writes a group of uploads, at most one per installation, exactly once.
--
-- The upsert locks the row of each installation and returns the numbers received before; pings that are new under
-- that lock become rows of pings, and of states where the state changed.
-- Returns rows of five kinds: "repeated", a ping that was not new, with its sequence; "holes", an installation
-- that has them, with its numbers; "changed", an installation that is to be projected; "erased", one that was erased,
-- of which nothing is written; and "outdated", nothing was written because features may have other numbers than those
-- of the generation $3, if it is given.
-- Rows are locked in the order of installation_id, so that two groups do not deadlock.
-- $1 and $2 are arrays of JSON objects: for the driver a fraction of the cost of one array per column.
-- The facts of a ping are null where its state is known to be written.
-- A cluster runs it on a node, on the tables of one shard: also that of erased_installations.
WITH sent AS MATERIALIZED (
    SELECT *
    FROM jsonb_to_recordset($1::jsonb) AS u (
        installation_id uuid, product_id uuid, received_at timestamptz, client_address inet, place jsonb,
        numbers int8multirange, last_sequence bigint
    )
    WHERE $3::text IS NULL OR $3 = names_generation()
), erased AS (
    SELECT installation_id
    FROM erased_installations
), upload AS MATERIALIZED (
    SELECT s.*
    FROM sent AS s
    LEFT JOIN erased AS e USING (installation_id)
    WHERE e.installation_id IS NULL
), ping AS MATERIALIZED (
    SELECT installation_id, sequence, ping_id, occurred_at, time_suspect, decode(state, 'hex') AS state,
           decode(license_key_hash, 'hex') AS license_key_hash, facts, reason, used_since, details,
           decode(counters, 'hex') AS counters, features, verdict, claim_mismatch, source_mismatch
    FROM jsonb_to_recordset($2::jsonb) AS p (
        installation_id uuid, sequence bigint, ping_id uuid, occurred_at timestamptz, time_suspect boolean,
        state text, license_key_hash text, facts jsonb, reason text, used_since timestamptz, details jsonb,
        counters text, features jsonb, verdict text, claim_mismatch boolean, source_mismatch boolean
    )
), now_known AS (
    INSERT INTO installations AS i (
        installation_id, product_id, received, received_before, first_received_at, last_received_at,
        last_sequence, last_occurred_at, client_address, state
    )
    SELECT u.installation_id, u.product_id, u.numbers, '{}', u.received_at, u.received_at,
           p.sequence, p.occurred_at, u.client_address, p.state
    FROM upload AS u
    JOIN ping AS p ON p.installation_id = u.installation_id AND p.sequence = u.last_sequence
    ORDER BY u.installation_id
    ON CONFLICT (installation_id) DO UPDATE SET
        received_before  = i.received,
        received         = i.received + excluded.received,
        last_received_at = greatest(i.last_received_at, excluded.last_received_at),
        last_sequence    = greatest(i.last_sequence, excluded.last_sequence),
        last_occurred_at = CASE WHEN excluded.last_sequence > i.last_sequence
                                THEN excluded.last_occurred_at ELSE i.last_occurred_at END,
        client_address   = CASE WHEN excluded.last_sequence > i.last_sequence
                                THEN excluded.client_address ELSE i.client_address END,
        address_moved    = coalesce(NOT excluded.client_address <<= i.client_address, false),
        state            = CASE WHEN excluded.last_sequence > i.last_sequence
                                THEN excluded.state ELSE i.state END,
        state_before     = i.state
    WHERE NOT i.received @> excluded.received
    RETURNING i.installation_id, i.received, i.received_before, i.state_before, i.address_moved
), fresh AS (
    INSERT INTO pings (
        received_at, installation_id, sequence, ping_id, occurred_at, time_suspect, client_address, state,
        reason_code, used_since, details, counters, features, verdict_code, claim_mismatch, source_mismatch
    )
    SELECT u.received_at, p.installation_id, p.sequence, p.ping_id, p.occurred_at, p.time_suspect,
           u.client_address, p.state, reason_code(p.reason), p.used_since, p.details, p.counters, p.features,
           verdict_code(p.verdict), p.claim_mismatch, p.source_mismatch
    FROM ping AS p
    JOIN now_known AS k USING (installation_id)
    JOIN upload AS u USING (installation_id)
    WHERE NOT p.sequence <@ k.received_before
    RETURNING installation_id, sequence, state
), new_states AS (
    INSERT INTO states (
        installation_id, state, first_received_at, license_status, license_source, license_key_hash,
        facts, place
    )
    SELECT DISTINCT ON (p.installation_id, p.state)
           p.installation_id, p.state, u.received_at, p.facts #>> '{license,status}',
           p.facts #>> '{license,source}', p.license_key_hash, p.facts, u.place
    FROM ping AS p
    JOIN now_known AS k USING (installation_id)
    JOIN upload AS u USING (installation_id)
    WHERE p.state IS DISTINCT FROM k.state_before AND p.facts IS NOT NULL
    ON CONFLICT DO NOTHING
), facts AS (
    SELECT installation_id, state, verdict, claim_mismatch, source_mismatch, life
    FROM installation_facts
)
SELECT 'repeated' AS kind, p.installation_id, p.sequence, NULL::int8multirange AS received
FROM ping AS p
JOIN upload AS u USING (installation_id)
LEFT JOIN fresh AS f USING (installation_id, sequence)
WHERE f.installation_id IS NULL
UNION ALL
SELECT 'erased', s.installation_id, NULL, NULL
FROM sent AS s
LEFT JOIN upload AS u USING (installation_id)
WHERE u.installation_id IS NULL
UNION ALL
SELECT 'holes', s.installation_id, NULL, s.received
FROM now_known AS s
WHERE s.received <> int8multirange(int8range(1, upper(s.received)))
UNION ALL
SELECT 'outdated', NULL, NULL, NULL
WHERE $3 <> names_generation()
UNION ALL
SELECT 'changed', k.installation_id, NULL, NULL
FROM now_known AS k
JOIN ping AS p USING (installation_id)
LEFT JOIN facts AS f USING (installation_id)
WHERE p.sequence >= coalesce(upper(k.received_before), 1)
  AND (k.address_moved
       OR p.state IS DISTINCT FROM f.state
       OR (p.verdict, p.claim_mismatch, p.source_mismatch) <> (f.verdict, f.claim_mismatch, f.source_mismatch)
       OR f.life IN ('late', 'lost'));

-- name: quarantine
-- Stores the bytes of a ping that PostgreSQL refused. A repeated upload adds nothing, nor does one that was erased.
INSERT INTO quarantine (
    installation_id, sequence, ping_id, product_id, received_at, sqlstate, message, body
)
SELECT $1::uuid, $2::bigint, $3::uuid, $4::uuid, $5::timestamptz, $6::text, $7::text, $8::bytea
WHERE NOT EXISTS (SELECT e.installation_id FROM erased_installations AS e WHERE e.installation_id = $1)
ON CONFLICT DO NOTHING;
