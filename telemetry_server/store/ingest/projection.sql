-- name: project
-- Updates installation_facts and changes to the newest ping of each installation of $1.
--
-- Idempotent: it reads only committed rows, and the same ping always leads to the same rows. Reads from the ping
-- that was projected last to the newest, ten thousand at most; late pings are left to history. due_at is only the
-- time of the first check: enrich/lifecycle.py decides what is late.
WITH known AS MATERIALIZED (
    SELECT i.installation_id, i.product_id, i.first_received_at, i.last_sequence,
           coalesce(f.sequence, 0) AS noted, f.state, f.verdict, f.life
    FROM installations AS i
    LEFT JOIN installation_facts AS f USING (installation_id)
    WHERE i.installation_id = ANY ($1::uuid[])
), walked AS MATERIALIZED (
    SELECT g.installation_id, g.sequence, g.received_at, g.state, g.client_address,
           coalesce(verdict_of(g.verdict_code), g.verdict) AS verdict, g.claim_mismatch, g.source_mismatch,
           lag(g.state, 1, k.state) OVER along AS state_before,
           lag(g.client_address) OVER along AS address_before
    FROM known AS k
    JOIN pings AS g ON g.installation_id = k.installation_id
                   AND g.sequence BETWEEN greatest(k.noted, k.last_sequence - 10000) AND k.last_sequence
    WHERE g.installation_id = ANY ($1::uuid[])
    WINDOW along AS (PARTITION BY g.installation_id ORDER BY g.sequence)
), newest AS MATERIALIZED (
    SELECT w.installation_id, w.sequence, w.received_at, w.state, w.verdict, w.claim_mismatch,
           w.source_mismatch, k.product_id, k.first_received_at, s.license_key_hash,
           version_key(s.service_version) AS version_key,
           k.verdict AS verdict_before, k.life AS life_before, s.license_status /*:values*/
    FROM known AS k
    JOIN walked AS w ON w.installation_id = k.installation_id AND w.sequence = k.last_sequence
    JOIN states AS s ON s.installation_id = w.installation_id AND s.state = w.state
    WHERE s.installation_id = ANY ($1::uuid[])
), present AS (
    INSERT INTO installation_facts AS f (
        installation_id, product_id, first_received_at, license_status /*:columns*/, version_key, license_key_hash,
        verdict, claim_mismatch, source_mismatch, judged_at, life, life_since, due_at, sequence, state
    )
    SELECT n.installation_id, n.product_id, n.first_received_at, n.license_status /*:new*/,
           n.version_key, n.license_key_hash,
           coalesce(n.verdict, CASE WHEN n.license_key_hash IS NULL THEN 'no_key' ELSE 'unknown_key' END),
           coalesce(n.claim_mismatch, false), coalesce(n.source_mismatch, false), n.received_at, 'new',
           CASE WHEN n.life_before IS NULL THEN n.first_received_at ELSE n.received_at END,
           n.received_at + make_interval(secs => least(r.new_for_seconds, r.ping_interval_seconds)),
           n.sequence, n.state
    FROM newest AS n
    JOIN products AS r USING (product_id)
    ORDER BY n.installation_id
    ON CONFLICT (installation_id) DO UPDATE SET
        ( license_status /*:columns*/, version_key, license_key_hash, verdict, claim_mismatch, source_mismatch,
         judged_at, sequence, state)
        = ( excluded.license_status /*:excluded*/, excluded.version_key, excluded.license_key_hash,
           excluded.verdict, excluded.claim_mismatch, excluded.source_mismatch, excluded.judged_at,
           excluded.sequence, excluded.state),
        judge_again = f.judge_again OR f.life IN ('late', 'lost') OR f.environment <> excluded.environment
                      OR f.license_key_hash IS DISTINCT FROM excluded.license_key_hash
                      OR (f.verdict, f.claim_mismatch, f.source_mismatch)
                         <> (excluded.verdict, excluded.claim_mismatch, excluded.source_mismatch),
        life        = CASE f.life WHEN 'late' THEN 'active' WHEN 'lost' THEN 'returned' ELSE f.life END,
        life_since  = CASE WHEN f.life IN ('late', 'lost') THEN excluded.life_since ELSE f.life_since END,
        due_at      = CASE WHEN f.life IN ('late', 'lost') THEN excluded.due_at ELSE f.due_at END
    WHERE excluded.sequence >= f.sequence
)
INSERT INTO changes (installation_id, changed_at, sequence, field, before, after)
SELECT w.installation_id, w.received_at, w.sequence, d.field, left(d.before, 256), left(d.after, 256)
FROM walked AS w
JOIN states AS b ON b.installation_id = w.installation_id AND b.state = w.state_before
JOIN states AS a ON a.installation_id = w.installation_id AND a.state = w.state
CROSS JOIN LATERAL (
    SELECT f.field, max(f.value) FILTER (WHERE s.old) AS before, max(f.value) FILTER (WHERE NOT s.old) AS after
    FROM (VALUES (true, b.facts, b.place, b.license_key_hash), (false, a.facts, a.place, a.license_key_hash))
        AS s (old, facts, place, license_key_hash)
    CROSS JOIN LATERAL facts_by_field(s.facts, s.place, s.license_key_hash) AS f
    GROUP BY f.field
) AS d
WHERE w.state <> w.state_before AND b.installation_id = ANY ($1::uuid[]) AND a.installation_id = ANY ($1::uuid[])
  AND d.before IS DISTINCT FROM d.after
UNION ALL
SELECT w.installation_id, w.received_at, w.sequence, 'client_address', abbrev(w.address_before),
       abbrev(w.client_address)
FROM walked AS w
WHERE NOT w.client_address <<= w.address_before AND NOT w.address_before <<= w.client_address
UNION ALL
SELECT n.installation_id, n.received_at, n.sequence, c.field, c.before, c.after
FROM newest AS n
CROSS JOIN LATERAL (VALUES
    ('verdict', CASE WHEN n.verdict <> n.verdict_before THEN n.verdict_before END, n.verdict),
    ('life', CASE WHEN n.life_before IN ('late', 'lost') THEN n.life_before END,
             CASE n.life_before WHEN 'late' THEN 'active' ELSE 'returned' END)
) AS c (field, before, after)
WHERE c.before IS NOT NULL
ON CONFLICT DO NOTHING;

-- name: fallen_behind
-- Installations that were not projected: the server was killed right after it had committed their pings.
SELECT i.installation_id
FROM installations AS i
LEFT JOIN installation_facts AS f USING (installation_id)
WHERE i.installation_id > $1 AND (f.installation_id IS NULL OR f.state <> i.state)
ORDER BY i.installation_id
LIMIT $2;

-- name: fill_added
-- Fills the columns that later migrations added, of the first $2 installations after $1 that lack them; returns their
-- ids.
WITH lacking AS MATERIALIZED (
    SELECT f.installation_id, i.state
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    WHERE f.installation_id > $1 AND ( FALSE /*:lacking*/ )
    ORDER BY f.installation_id
    LIMIT $2
)
UPDATE installation_facts AS f SET
    ( license_status /*:columns*/ ) = ROW ( f.license_status /*:filled*/ )
FROM lacking AS k
LEFT JOIN states AS s ON s.installation_id = k.installation_id AND s.state = k.state
WHERE f.installation_id = k.installation_id
RETURNING f.installation_id;
