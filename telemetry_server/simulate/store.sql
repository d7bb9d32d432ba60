-- name: write_over_connections
-- Until the transaction ends: on a cluster, the coordinator writes its copies of tables as it writes those of other nodes,
-- or it could not copy rows into shards afterwards. Does nothing on one machine.
SELECT set_config('citus.enable_local_execution', 'off', true);

-- name: temporary_stretches
-- A row is a part of a simulated copy's history in which its pings differ only in number and time.
-- Times are milliseconds since 1970.
CREATE TEMPORARY TABLE stretches (
    copy            bigint  NOT NULL,
    installation_id uuid    NOT NULL,
    first_number    bigint  NOT NULL,
    last_number     bigint  NOT NULL,
    begins_ms       bigint  NOT NULL,
    delivered_ms    bigint,
    first_received_ms   bigint  NOT NULL,
    last_received_ms     bigint  NOT NULL,
    phase_ms        bigint  NOT NULL,
    lag_ms          bigint  NOT NULL,
    clock_off_ms    bigint  NOT NULL,
    client_address  inet    NOT NULL,
    state           bytea   NOT NULL,
    reason          text    NOT NULL,
    profile         integer,
    verdict         text    NOT NULL,
    claim_mismatch  boolean NOT NULL,
    source_mismatch boolean NOT NULL
) ON COMMIT DROP;

-- name: temporary_presents
-- A row is the present row of a simulated copy at the end, beside its last state.
CREATE TEMPORARY TABLE presents (
    installation_id   uuid        NOT NULL,
    product_id        uuid        NOT NULL,
    first_received_at timestamptz NOT NULL,
    license_id        uuid,
    verdict           text        NOT NULL,
    claim_mismatch    boolean     NOT NULL,
    source_mismatch   boolean     NOT NULL,
    judged_at         timestamptz NOT NULL,
    judge_again       boolean     NOT NULL,
    life              text        NOT NULL,
    life_since        timestamptz NOT NULL,
    due_at            timestamptz NOT NULL
) ON COMMIT DROP;

-- name: temporary_usage
-- A row is a usage section for pings of that profile on that day of the week.
CREATE TEMPORARY TABLE usage (
    usage_number integer PRIMARY KEY,
    features     jsonb   NOT NULL,
    counters     bytea   NOT NULL DEFAULT '\x11' -- none
) ON COMMIT DROP;

-- name: temporary_rivals
-- A row is a ping of a second copy under the number of a ping of the first.
CREATE TEMPORARY TABLE rivals (
    installation_id uuid        NOT NULL,
    sequence        bigint      NOT NULL,
    ping_id         uuid        NOT NULL,
    received_at     timestamptz NOT NULL,
    occurred_at     timestamptz NOT NULL,
    client_address  inet        NOT NULL,
    facts           jsonb       NOT NULL,
    details         jsonb       NOT NULL,
    place           jsonb       NOT NULL
) ON COMMIT DROP;

-- name: temporary_found_hostnames
-- A row is what the DNS says of an address of a simulated copy.
CREATE TEMPORARY TABLE found_hostnames (
    address      inet        NOT NULL,
    hostname     text        NOT NULL,
    looked_up_at timestamptz NOT NULL
) ON COMMIT DROP;

-- name: number_features
-- The counters of usage sections; a feature that has no number in $1 stays in features.
UPDATE usage AS u SET
    counters = coalesce(n.counters, '\x11'),
    features = n.features
FROM (
    SELECT o.usage_number,
           counters_of(array_agg(e.number) FILTER (WHERE e.number >= 0),
                       array_agg(e.uses::bigint) FILTER (WHERE e.number >= 0)) AS counters,
           coalesce(jsonb_object_agg(e.name, e.uses) FILTER (WHERE e.number < 0), '{}') AS features
    FROM usage AS o
    CROSS JOIN LATERAL feature_uses(NULL, o.features, $1::jsonb) AS e
    GROUP BY o.usage_number
) AS n
WHERE n.usage_number = u.usage_number;

-- name: analyze_stretches
ANALYZE stretches;

-- name: make_pings
-- The pings of the stretches received from $1 until before $2; $3 is the interval, $4 the largest jitter,
-- $5 the seed, $6 the number of usage sections of a profile on a day of the week.
-- The n-th ping is (phase + n * 7919013) modulo the jitter after its due time, also in simulate/runs.py.
-- Ids begin with the time (RFC 9562); the rest is a hash of the copy and the number.
WITH asked AS MATERIALIZED (
    SELECT $1::bigint AS from_ms, $2::bigint AS to_ms, $3::bigint AS interval_ms, $4::bigint AS jitter_ms,
           $5::bigint AS seed, $6::integer AS kinds
)
INSERT INTO pings (
    received_at, installation_id, sequence, ping_id, occurred_at, time_suspect, client_address, state,
    reason_code, used_since, counters, features, verdict_code, claim_mismatch, source_mismatch
)
SELECT to_timestamp(t.received / 1000.0), s.installation_id, n,
       (lpad(to_hex((t.made - s.lag_ms) << 16 | 28672 | (h.hash & 4095)), 16, '0')
        || to_hex((h.hash >> 2 & 4611686018427387903) | (-9223372036854775808)))::uuid,
       to_timestamp(t.occurred / 1000.0),
       t.occurred NOT BETWEEN t.received - 34560000000 AND t.received + 600000, s.client_address, s.state,
       reason_code(r.reason),
       CASE WHEN s.profile IS NOT NULL
            THEN to_timestamp((t.occurred - CASE n WHEN 1 THEN 60000 ELSE a.interval_ms END) / 1000.0) END,
       u.counters, nullif(u.features, '{}'), verdict_code(s.verdict), s.claim_mismatch, s.source_mismatch
FROM asked AS a
CROSS JOIN stretches AS s
CROSS JOIN LATERAL generate_series(
    CASE WHEN s.delivered_ms IS NULL THEN greatest(
        s.first_number, s.first_number + (a.from_ms - a.jitter_ms - s.begins_ms) / a.interval_ms
    ) ELSE s.first_number END,
    CASE WHEN s.delivered_ms IS NULL THEN least(
        s.last_number, s.first_number + (a.to_ms - s.begins_ms) / a.interval_ms
    ) ELSE s.last_number END
) AS n
CROSS JOIN LATERAL (
    SELECT s.begins_ms + (n - s.first_number) * a.interval_ms
           + (s.phase_ms + n * 7919013) % a.jitter_ms AS made
) AS m
CROSS JOIN LATERAL (
    SELECT m.made, coalesce(s.delivered_ms, m.made) AS received, m.made - s.lag_ms + s.clock_off_ms AS occurred
) AS t
CROSS JOIN LATERAL (SELECT hashint8extended(s.copy << 24 | n, a.seed) AS hash) AS h
CROSS JOIN LATERAL (
    SELECT CASE WHEN n = s.first_number THEN s.reason ELSE 'heartbeat' END AS reason
) AS r
LEFT JOIN usage AS u
  ON u.usage_number = (s.profile * 7 + (t.made / 86400000 + 3) % 7) * a.kinds + abs(h.hash % a.kinds)
WHERE s.last_received_ms >= a.from_ms AND s.first_received_ms < a.to_ms
  AND t.received >= a.from_ms AND t.received < a.to_ms;

-- name: make_facts
-- The present facts of the copies, as the writer projects them from their last states.
INSERT INTO installation_facts (
    installation_id, product_id, first_received_at, license_id, verdict, claim_mismatch, source_mismatch, judged_at,
    judge_again, life, life_since, due_at, version_key, license_key_hash, counted_key_hash,
    license_status /*:columns*/
)
SELECT c.*, version_key(s.service_version), s.license_key_hash, s.license_key_hash, s.license_status /*:values*/
FROM presents AS c
JOIN installations AS i USING (installation_id)
JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state;

-- name: make_forks
-- The rivals, each beside the ping that is stored under its number.
INSERT INTO forks (
    installation_id, sequence, ping_id, stored_ping_id, received_at, occurred_at, client_address, facts,
    details, place
)
SELECT r.installation_id, r.sequence, r.ping_id, g.ping_id, r.received_at, r.occurred_at, r.client_address,
       r.facts, r.details, r.place
FROM rivals AS r
JOIN pings AS g USING (installation_id, sequence);

-- name: make_hostnames
-- One of each address; another fleet may have named it.
INSERT INTO hostnames (address, hostname, looked_up_at)
SELECT DISTINCT ON (address) address, hostname, looked_up_at FROM found_hostnames ORDER BY address, hostname
ON CONFLICT DO NOTHING;

-- name: claim_product
-- Inserts or updates the simulated product of that slug; returns whether it is new, and no row for a real product.
INSERT INTO products (
    product_id, slug, name, ping_interval_seconds, created_at, grace_seconds, lost_after_seconds,
    new_for_seconds, simulated
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true)
ON CONFLICT (slug) DO UPDATE SET
    name                  = excluded.name,
    ping_interval_seconds = excluded.ping_interval_seconds,
    created_at            = excluded.created_at,
    grace_seconds         = excluded.grace_seconds,
    lost_after_seconds    = excluded.lost_after_seconds,
    new_for_seconds       = excluded.new_for_seconds
WHERE products.simulated
RETURNING xmax = 0 AS is_new;

-- name: count_outcome
INSERT INTO ingest_counts (day, product_id, outcome, count) VALUES ($1, $2, $3, $4);

-- name: look_back
-- The roll-up $1 counts the pings from $2 on again; its new counts make the others follow.
UPDATE rollup_marks SET reached_at = least(reached_at, $2) WHERE name = $1;

-- name: keep_out
-- Waits for the job of that lock, and keeps it from starting until the transaction ends.
SELECT pg_advisory_xact_lock($1);

-- name: other_products
SELECT product_id, slug FROM products WHERE product_id <> $1 ORDER BY slug;

-- name: try_lock
-- A lock until the end of the transaction: two fleets made at once would need the same months.
SELECT pg_try_advisory_xact_lock(7265430000003);

-- name: remove_pings
DELETE FROM pings AS g USING installations AS i
WHERE i.installation_id = g.installation_id AND i.product_id = $1;

-- name: remove_states
DELETE FROM states AS s USING installations AS i
WHERE i.installation_id = s.installation_id AND i.product_id = $1;

-- name: remove_changes
DELETE FROM changes AS c USING installations AS i
WHERE i.installation_id = c.installation_id AND i.product_id = $1;

-- name: remove_forks
DELETE FROM forks AS f USING installations AS i
WHERE i.installation_id = f.installation_id AND i.product_id = $1;

-- name: remove_installation_days
DELETE FROM installation_days WHERE product_id = $1;

-- name: remove_lineage
DELETE FROM lineage WHERE product_id = $1;

-- name: remove_hostnames
-- Those of a simulated product end with its slug and a seed.
DELETE FROM hostnames AS h
WHERE h.hostname ~ ('[.]' || (SELECT p.slug FROM products AS p WHERE p.product_id = $1) || '-[0-9]+[.]example$');

-- name: remove_quarantine
DELETE FROM quarantine WHERE product_id = $1;

-- name: remove_facts
DELETE FROM installation_facts WHERE product_id = $1;

-- name: remove_cases
DELETE FROM cases WHERE product_id = $1;

-- name: remove_findings
DELETE FROM findings WHERE product_id = $1;

-- name: remove_installations
DELETE FROM installations WHERE product_id = $1;

-- name: remove_case_rows
DELETE FROM case_rows AS x USING installations AS i
WHERE i.installation_id = x.installation_id AND i.product_id = $1;

-- name: remove_restricted_installations
DELETE FROM restricted_installations AS x USING installations AS i
WHERE i.installation_id = x.installation_id AND i.product_id = $1;

-- name: remove_followed_installations
DELETE FROM followed_installations AS x USING installations AS i
WHERE i.installation_id = x.installation_id AND i.product_id = $1;

-- name: remove_erased_installations
DELETE FROM erased_installations AS x USING installations AS i
WHERE i.installation_id = x.installation_id AND i.product_id = $1;

-- name: remove_support_grants
DELETE FROM support_grants WHERE product_id = $1;

-- name: remove_installation_levels
DELETE FROM installation_levels AS l USING installations AS i
WHERE i.installation_id = l.installation_id AND i.product_id = $1;

-- name: remove_erased_counts
DELETE FROM erased_counts WHERE product_id = $1;

-- name: remove_fleet_days
DELETE FROM fleet_days WHERE product_id = $1;

-- name: remove_fleet_now
DELETE FROM fleet_now WHERE product_id = $1;

-- name: remove_feature_days
DELETE FROM feature_days WHERE product_id = $1;

-- name: remove_cohort_weeks
DELETE FROM cohort_weeks WHERE product_id = $1;

-- name: remove_days_due
DELETE FROM days_due WHERE product_id = $1;

-- name: remove_active_days
DELETE FROM active_days WHERE product_id = $1;

-- name: remove_active_due
DELETE FROM active_due WHERE product_id = $1;

-- name: remove_feature_value_days
DELETE FROM feature_value_days WHERE product_id = $1;

-- name: remove_ingest_counts
DELETE FROM ingest_counts WHERE product_id = $1;

-- name: remove_registry_changes
DELETE FROM registry_changes AS c USING licenses AS l
WHERE c.entity = 'license' AND c.entity_id = l.license_id::text AND l.product_id = $1;

-- name: remove_license_keys
DELETE FROM license_keys AS k USING licenses AS l WHERE l.license_id = k.license_id AND l.product_id = $1;

-- name: remove_licenses
DELETE FROM licenses WHERE product_id = $1;

-- name: remove_customers
-- Customers made for the product $1 that have no other license since.
DELETE FROM customers AS c
WHERE c.custom ->> 'simulated' = (SELECT p.slug FROM products AS p WHERE p.product_id = $1)
  AND NOT EXISTS (SELECT FROM licenses AS l WHERE l.customer_id = c.customer_id);

-- name: remove_editions
DELETE FROM editions WHERE product_id = $1;

-- name: remove_releases
DELETE FROM releases WHERE product_id = $1;

-- name: indexes_of_pings
-- Each ends with USING, its method, columns and condition.
SELECT pg_get_indexdef(i.indexrelid) FROM pg_index AS i WHERE i.indrelid = 'pings'::regclass;
