-- name: write_group
-- Writes a group of uploads, at most one of each installation, exactly once.
--
-- The upsert takes each installation's row lock and tells what had been received before; only what is
-- new under that lock becomes a row of pings, and a row of states where the state changed. Where the
-- newest ping brought something new, the installation's present facts and the timeline follow.
-- Gives one row for each ping that was not new (its sequence), and one for each installation with holes
-- (its numbers, no sequence).
-- Rows are locked in the order of installation_id, so that two groups never wait for each other.
-- Both parameters are arrays of JSON objects: the driver takes one JSON text for a fraction of what an
-- array for each column costs it. The facts of a ping are null where its state is known to be written.
WITH upload AS MATERIALIZED (
    SELECT *
    FROM jsonb_to_recordset($1::jsonb) AS u (
        installation_id uuid, product_id uuid, received_at timestamptz, client_address inet, place jsonb,
        numbers int8multirange, last_sequence bigint
    )
), ping AS MATERIALIZED (
    SELECT installation_id, sequence, ping_id, occurred_at, time_suspect, decode(state, 'hex') AS state,
           decode(license_key_hash, 'hex') AS license_key_hash, facts, details, features, verdict,
           claim_mismatch, source_mismatch
    FROM jsonb_to_recordset($2::jsonb) AS p (
        installation_id uuid, sequence bigint, ping_id uuid, occurred_at timestamptz, time_suspect boolean,
        state text, license_key_hash text, facts jsonb, details jsonb, features jsonb, verdict text,
        claim_mismatch boolean, source_mismatch boolean
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
        state            = CASE WHEN excluded.last_sequence > i.last_sequence
                                THEN excluded.state ELSE i.state END,
        state_before     = i.state
    WHERE NOT i.received @> excluded.received
    RETURNING i.installation_id, i.received, i.received_before, i.state_before
), fresh AS (
    INSERT INTO pings (
        received_at, installation_id, sequence, ping_id, occurred_at, time_suspect, client_address, state,
        details, features, verdict, claim_mismatch, source_mismatch
    )
    SELECT u.received_at, p.installation_id, p.sequence, p.ping_id, p.occurred_at, p.time_suspect,
           u.client_address, p.state, p.details, p.features, p.verdict, p.claim_mismatch, p.source_mismatch
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
), newest AS MATERIALIZED (
    -- The uploads whose last ping is the newest of its installation, beside what was known before.
    SELECT u.installation_id, u.product_id, u.received_at, u.client_address, u.place, u.last_sequence,
           p.state, p.license_key_hash, p.facts, p.verdict, p.claim_mismatch, p.source_mismatch,
           k.state_before, f.verdict AS verdict_before, f.life AS life_before,
           CASE WHEN NOT u.client_address <<= o.client_address THEN o.client_address END AS address_before,
           f.installation_id IS NULL
           OR p.state <> k.state_before
           OR (p.verdict, p.claim_mismatch, p.source_mismatch)
              <> (f.verdict, f.claim_mismatch, f.source_mismatch)
           OR f.life IN ('late', 'lost') AS news
    FROM now_known AS k
    JOIN upload AS u USING (installation_id)
    JOIN ping AS p ON p.installation_id = u.installation_id AND p.sequence = u.last_sequence
    LEFT JOIN installations AS o ON o.installation_id = u.installation_id
    LEFT JOIN installation_facts AS f ON f.installation_id = u.installation_id
    WHERE u.last_sequence >= coalesce(upper(k.received_before), 1)
), present AS (
    INSERT INTO installation_facts AS f (
        installation_id, product_id, first_received_at, license_status, license_source, edition, version,
        version_key, environment, os_name, vm, container, cloud, country, asn, hosting, license_key_hash,
        verdict, claim_mismatch, source_mismatch, judged_at, life, life_since, due_at
    )
    SELECT n.installation_id, n.product_id, n.received_at, s.facts #>> '{license,status}',
           coalesce(s.facts #>> '{license,source}', 'unknown'),
           coalesce(s.facts #>> '{license,edition}', 'unknown'),
           coalesce(s.facts #>> '{service,version}', 'unknown'), version_key(s.facts #>> '{service,version}'),
           coalesce(s.facts #>> '{service,environment}', 'unknown'),
           coalesce(s.facts #>> '{os,name}', 'unknown'),
           coalesce(s.facts #>> '{virtualization,vm}', s.vain),
           coalesce(s.facts #>> '{virtualization,container}', s.vain),
           coalesce(s.facts #>> '{virtualization,cloud}', s.vain),
           coalesce(n.place ->> 'country', 'unknown'), coalesce(n.place ->> 'asn', 'unknown'),
           (n.place ->> 'hosting')::boolean, n.license_key_hash, n.verdict, n.claim_mismatch,
           n.source_mismatch, n.received_at, 'new', n.received_at,
           n.received_at
           + make_interval(secs => least(r.new_for_seconds, r.ping_interval_seconds + r.grace_seconds))
    FROM newest AS n
    JOIN products AS r USING (product_id)
    CROSS JOIN LATERAL (
        SELECT c.facts, CASE WHEN c.facts ? 'virtualization' THEN 'none' ELSE 'unknown' END AS vain
        FROM (SELECT coalesce(n.facts, (SELECT t.facts FROM states AS t
                                        WHERE t.installation_id = n.installation_id AND t.state = n.state))
              AS facts) AS c
    ) AS s
    WHERE n.news
    ORDER BY n.installation_id
    ON CONFLICT (installation_id) DO UPDATE SET
        (license_status, license_source, edition, version, version_key, environment, os_name, vm, container,
         cloud, country, asn, hosting, license_key_hash, verdict, claim_mismatch, source_mismatch, judged_at)
        = (excluded.license_status, excluded.license_source, excluded.edition, excluded.version,
           excluded.version_key, excluded.environment, excluded.os_name, excluded.vm, excluded.container,
           excluded.cloud, excluded.country, excluded.asn, excluded.hosting, excluded.license_key_hash,
           excluded.verdict, excluded.claim_mismatch, excluded.source_mismatch, excluded.judged_at),
        judge_again = f.judge_again OR f.life = 'lost' OR f.environment <> excluded.environment
                      OR f.license_key_hash IS DISTINCT FROM excluded.license_key_hash
                      OR (f.verdict, f.claim_mismatch, f.source_mismatch)
                         <> (excluded.verdict, excluded.claim_mismatch, excluded.source_mismatch),
        life        = CASE f.life WHEN 'late' THEN 'active' WHEN 'lost' THEN 'returned' ELSE f.life END,
        life_since  = CASE WHEN f.life IN ('late', 'lost') THEN excluded.life_since ELSE f.life_since END,
        due_at      = CASE WHEN f.life IN ('late', 'lost') THEN excluded.due_at ELSE f.due_at END
), moved AS (
    -- The new pings whose state is another than that of the one before; late ones are left to history.
    SELECT m.*
    FROM (
        SELECT n.installation_id, n.sequence, n.state,
               lag(n.state, 1, k.state_before) OVER (PARTITION BY n.installation_id ORDER BY n.sequence)
                   AS state_before
        FROM fresh AS n
        JOIN now_known AS k USING (installation_id)
        WHERE n.sequence >= coalesce(upper(k.received_before), 1)
    ) AS m
    WHERE m.state <> m.state_before
), told AS (
    -- Facts of states that only this group knows; the others are in states.
    SELECT DISTINCT ON (p.installation_id, p.state)
           p.installation_id, p.state, p.facts, u.place, p.license_key_hash
    FROM ping AS p
    JOIN upload AS u USING (installation_id)
    WHERE p.facts IS NOT NULL AND EXISTS (SELECT FROM moved)
), timeline AS (
    INSERT INTO changes (installation_id, changed_at, sequence, field, before, after)
    SELECT m.installation_id, u.received_at, m.sequence, d.field, left(d.before, 256), left(d.after, 256)
    FROM moved AS m
    JOIN upload AS u USING (installation_id)
    LEFT JOIN states AS sb ON sb.installation_id = m.installation_id AND sb.state = m.state_before
    LEFT JOIN told AS tb ON tb.installation_id = m.installation_id AND tb.state = m.state_before
    LEFT JOIN states AS sa ON sa.installation_id = m.installation_id AND sa.state = m.state
    LEFT JOIN told AS ta ON ta.installation_id = m.installation_id AND ta.state = m.state
    CROSS JOIN LATERAL (
        SELECT field, b.value AS before, a.value AS after
        FROM facts_by_field(coalesce(sb.facts, tb.facts), coalesce(sb.place, tb.place),
                            coalesce(sb.license_key_hash, tb.license_key_hash)) AS b
        FULL JOIN facts_by_field(coalesce(sa.facts, ta.facts), coalesce(sa.place, ta.place),
                                 coalesce(sa.license_key_hash, ta.license_key_hash)) AS a USING (field)
        WHERE b.value IS DISTINCT FROM a.value
    ) AS d
    UNION ALL
    SELECT n.installation_id, n.received_at, n.last_sequence, c.field, c.before, c.after
    FROM newest AS n
    CROSS JOIN LATERAL (VALUES
        ('client_address', abbrev(n.address_before), abbrev(n.client_address)),
        ('verdict', CASE WHEN n.verdict <> n.verdict_before THEN n.verdict_before END, n.verdict),
        ('life', CASE WHEN n.life_before IN ('late', 'lost') THEN n.life_before END,
                 CASE n.life_before WHEN 'late' THEN 'active' ELSE 'returned' END)
    ) AS c (field, before, after)
    WHERE c.before IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT p.installation_id, p.sequence, NULL::int8multirange AS received
FROM ping AS p
LEFT JOIN fresh AS f USING (installation_id, sequence)
WHERE f.installation_id IS NULL
UNION ALL
SELECT s.installation_id, NULL, s.received
FROM now_known AS s
WHERE s.received <> int8multirange(int8range(1, upper(s.received)));

-- name: look_up_stored
-- For pings whose numbers had come before: which ping has the number, in which table.
-- Nothing where it is older than the kept pings.
SELECT k.installation_id,
       k.sequence,
       (SELECT g.ping_id FROM pings AS g
        WHERE g.installation_id = k.installation_id AND g.sequence = k.sequence LIMIT 1) AS stored_ping_id
FROM unnest($1::uuid[], $2::bigint[]) AS k (installation_id, sequence);

-- name: look_up_received
-- The numbers received of each installation that has holes.
SELECT installation_id, received
FROM installations
WHERE installation_id = ANY ($1::uuid[])
  AND received <> int8multirange(int8range(1, upper(received)));

-- name: record_forks
-- Keeps the second pings of numbers beside the first. A repeated upload adds nothing, and of one
-- installation a thousand are evidence enough.
INSERT INTO forks (
    installation_id, sequence, ping_id, stored_ping_id, received_at, occurred_at, client_address,
    facts, details, place
)
SELECT f.installation_id, f.sequence, f.ping_id, f.stored_ping_id, f.received_at, f.occurred_at,
       f.client_address::inet, f.facts::jsonb, f.details::jsonb, f.place::jsonb
FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::timestamptz[],
            $7::text[], $8::text[], $9::text[], $10::text[])
    AS f (installation_id, sequence, ping_id, stored_ping_id, received_at, occurred_at, client_address,
          facts, details, place)
WHERE (SELECT count(*) FROM forks AS k WHERE k.installation_id = f.installation_id) < 1000
ON CONFLICT DO NOTHING;

-- name: quarantine
-- Keeps the bytes of a ping that PostgreSQL refused. A repeated upload adds nothing.
INSERT INTO quarantine (
    installation_id, sequence, ping_id, product_id, received_at, sqlstate, message, body
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING;

-- name: lock_received
-- The numbers received of one installation, locked until the transaction ends.
SELECT received FROM installations WHERE installation_id = $1 FOR UPDATE;

-- name: close_holes
-- Gives up numbers that never came: they count as received from now on, and as lost.
UPDATE installations SET received = received + $2::text::int8multirange, lost = lost + $3
WHERE installation_id = $1;
