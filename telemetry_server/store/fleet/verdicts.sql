-- name: stale_licenses
-- The most recent changes first, beyond the key $1, $2: a single change does not wait for a million older ones.
SELECT license_id, updated_at
FROM licenses
WHERE stale AND (updated_at, license_id) < ($1, $2)
ORDER BY updated_at DESC, license_id DESC
LIMIT $3;

-- name: expired_licenses
-- Those that expired after the moment $1 and until $2, beyond the key $3, $4.
SELECT license_id, expires_at
FROM licenses
WHERE expires_at > $1 AND expires_at <= $2 AND (expires_at, license_id) > ($3, $4)
ORDER BY expires_at, license_id
LIMIT $5;

-- name: mark_expired
-- Returns how many of them are stale now. Skips those that another transaction is changing.
WITH free AS MATERIALIZED (
    SELECT license_id, stale FROM licenses WHERE license_id = ANY ($1::uuid[]) FOR NO KEY UPDATE SKIP LOCKED
), marked AS (
    UPDATE licenses AS l SET stale = true FROM free WHERE l.license_id = free.license_id AND NOT free.stale
)
SELECT count(*) FROM free;

-- name: licenses_of_keys
SELECT k.key_hash, k.license_id FROM license_keys AS k WHERE k.key_hash = ANY ($1::bytea[]);

-- name: licenses_to_judge_by
-- What the licenses grant, the hashes of their key (under the slug of their own product, and under any), and the
-- version of the row.
SELECT l.license_id, l.xmin::text AS version, l.product_id, l.status, l.type, l.source, l.seats, l.seats_used,
       l.overage, CASE WHEN l.addresses_enforced THEN l.addresses ELSE '{}' END AS addresses,
       l.free_environments, l.starts_at, l.expires_at,
       ARRAY(SELECT k.key_hash FROM license_keys AS k
             WHERE k.license_id = l.license_id AND k.product_id = l.product_id) AS own_keys,
       ARRAY(SELECT k.key_hash FROM license_keys AS k WHERE k.license_id = l.license_id) AS keys
FROM licenses AS l
WHERE l.license_id = ANY ($1::uuid[]);

-- name: count_on_keys
-- Number of reporting installations per key, product and environment.
SELECT license_key_hash AS key_hash, product_id, environment, count(*) AS count
FROM installation_facts
WHERE license_key_hash IS NOT NULL AND license_key_hash = ANY ($1::bytea[]) AND life NOT IN ('late', 'lost')
GROUP BY license_key_hash, product_id, environment;

-- name: installations_due
-- Installations whose key, phase, environment or verdict changed, beyond the installation $1.
SELECT f.installation_id, f.product_id, f.license_key_hash AS key_hash, f.counted_key_hash,
       f.license_status, f.license_source, f.environment, f.life, abbrev(i.client_address) AS client_address,
       i.last_occurred_at, i.last_received_at, f.verdict, f.claim_mismatch, f.source_mismatch, f.license_id,
       f.judged_at
FROM installation_facts AS f
JOIN installations AS i USING (installation_id)
WHERE f.judge_again AND f.installation_id > $1
ORDER BY f.installation_id
LIMIT $2;

-- name: installations_on_keys
-- Installations with one of the keys $1, beyond the key $2 and the installation $3. IS NOT NULL is for the index.
SELECT f.installation_id, f.product_id, f.license_key_hash AS key_hash, f.counted_key_hash,
       f.license_status, f.license_source, f.environment, f.life, abbrev(i.client_address) AS client_address,
       i.last_occurred_at, i.last_received_at, f.verdict, f.claim_mismatch, f.source_mismatch, f.license_id,
       f.judged_at
FROM installation_facts AS f
JOIN installations AS i USING (installation_id)
WHERE f.license_key_hash IS NOT NULL AND f.license_key_hash = ANY ($1::bytea[])
  AND (f.license_key_hash, f.installation_id) > ($2, $3)
ORDER BY f.license_key_hash, f.installation_id
LIMIT $4;

-- name: write_judgements
-- Writes the verdicts of the moment $2 on installations that have not changed since they were read: each write of
-- the writer changes judged_at, the job "watch deadlines" changes the phase.
-- Returns those it wrote. Rows are locked in the order of installation_id, as the writer does.
WITH judged AS MATERIALIZED (
    SELECT *
    FROM jsonb_to_recordset($1::jsonb) AS j (
        installation_id uuid, seen_judged_at timestamptz, seen_life text, seen_address text,
        seen_verdict text, verdict text, claim_mismatch boolean, source_mismatch boolean, license_id uuid,
        settled boolean
    )
    ORDER BY installation_id
), written AS (
    UPDATE installation_facts AS f SET
        verdict          = j.verdict,
        claim_mismatch   = j.claim_mismatch,
        source_mismatch  = j.source_mismatch,
        license_id       = j.license_id,
        judged_at        = $2,
        counted_key_hash = CASE WHEN j.settled THEN f.license_key_hash ELSE f.counted_key_hash END,
        judge_again      = f.judge_again AND NOT j.settled
    FROM judged AS j
    JOIN installations AS i ON i.installation_id = j.installation_id
    WHERE f.installation_id = j.installation_id
      AND f.judged_at = j.seen_judged_at
      AND f.life = j.seen_life
      AND abbrev(i.client_address) IS NOT DISTINCT FROM j.seen_address
    RETURNING f.installation_id, i.last_sequence, j.seen_verdict, j.verdict
), timeline AS (
    INSERT INTO changes (installation_id, changed_at, sequence, field, before, after)
    SELECT w.installation_id, $2, w.last_sequence, 'verdict', w.seen_verdict, w.verdict
    FROM written AS w
    WHERE w.verdict <> w.seen_verdict
    ON CONFLICT DO NOTHING
)
SELECT installation_id FROM written;

-- name: judge_again
-- What changed while it was judged is judged again.
UPDATE installation_facts SET judge_again = true WHERE installation_id = ANY ($1::uuid[]) AND NOT judge_again;

-- name: count_seats
-- Writes seats in use; stale: all installations of the license are to be judged again. Returns the licenses it wrote.
-- Skips those that another transaction is changing, which marks them stale anyway.
WITH free AS (
    SELECT l.license_id, s.seats_used, s.stale
    FROM licenses AS l
    JOIN unnest($1::uuid[], $2::integer[], $3::boolean[]) AS s (license_id, seats_used, stale) USING (license_id)
    FOR NO KEY UPDATE OF l SKIP LOCKED
)
UPDATE licenses AS l SET
    seats_used = free.seats_used,
    stale      = l.stale OR free.stale,
    over_since = CASE WHEN free.seats_used > l.seats THEN l.over_since END
FROM free
WHERE l.license_id = free.license_id
RETURNING l.license_id;

-- name: settle_licenses
-- Writes the seats of licenses, and marks them as no longer stale, where the row still has that version: nothing
-- changed while their installations were judged. Skips those that another transaction is changing: they stay stale.
WITH free AS (
    SELECT l.license_id, s.seats_used
    FROM licenses AS l
    JOIN unnest($1::uuid[], $2::text[], $3::integer[]) AS s (license_id, version, seats_used) USING (license_id)
    WHERE l.xmin::text = s.version AND (l.stale OR l.seats_used <> s.seats_used)
    FOR NO KEY UPDATE OF l SKIP LOCKED
)
UPDATE licenses AS l SET
    stale      = false,
    seats_used = free.seats_used,
    over_since = CASE WHEN free.seats_used > l.seats THEN l.over_since END
FROM free
WHERE l.license_id = free.license_id;
