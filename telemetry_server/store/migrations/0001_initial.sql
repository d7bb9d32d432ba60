-- The whole database as it is today: the first file to read.
--
-- telemetry_server/store/migrations/ builds the same, step by step, for databases that exist;
-- a test holds both against each other. PostgreSQL 15 is the floor, no extension is needed.
--
-- Tables that grow with the fleet carry installation_id in every primary and unique key, so that
-- Citus can distribute them by it; a test on pg_catalog holds that. The other tables are small.
--
-- Where is the history of one installation? pings_history, the index on pings (installation_id,
-- sequence): WHERE installation_id = … ORDER BY sequence DESC. The primary key begins with
-- received_at, so that new rows go to the end of both the table and its index.

-- ── who sells what ─────────────────────────────────────────────────────────────────────────

CREATE TABLE products (
    product_id            uuid        PRIMARY KEY,
    slug                  text        NOT NULL CONSTRAINT products_slug_is_unique UNIQUE
                                      CONSTRAINT products_slug_is_a_slug CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name                  text        NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    ping_interval_seconds integer     NOT NULL DEFAULT 86400 CHECK (ping_interval_seconds BETWEEN 60 AND 31536000),
    created_at            timestamptz NOT NULL
);
COMMENT ON TABLE products IS
    'A row is a product the vendor sells. Written by "telemetry-server product add". Kept for ever.';

CREATE TABLE product_keys (
    product_key text        PRIMARY KEY CHECK (product_key ~ '^pk_[a-z0-9][a-z0-9-]{0,62}_[A-Za-z0-9_-]{16,}$'),
    product_id  uuid        NOT NULL REFERENCES products,
    created_at  timestamptz NOT NULL,
    revoked_at  timestamptz
);
COMMENT ON TABLE product_keys IS
    'A row is a product key, in clear: it is public, ships in the product, routes and rations, and proves '
    'nothing. Written by "product add" and "product rotate-key". Kept for ever.';

-- ── the fleet ──────────────────────────────────────────────────────────────────────────────

CREATE TABLE installations (
    installation_id   uuid           PRIMARY KEY,
    product_id        uuid           NOT NULL,
    received          int8multirange NOT NULL CHECK (NOT isempty(received)),
    received_before   int8multirange NOT NULL,
    lost              bigint         NOT NULL DEFAULT 0 CHECK (lost >= 0),
    first_received_at timestamptz    NOT NULL,
    last_received_at  timestamptz    NOT NULL,
    last_sequence     bigint         NOT NULL,
    last_occurred_at  timestamptz    NOT NULL,
    client_address    inet,
    state             bytea          NOT NULL CHECK (length(state) = 16),
    state_before      bytea
) WITH (fillfactor = 80);
COMMENT ON TABLE installations IS
    'A row is an installed copy: the numbers of the pings it sent, and which of its states the newest of '
    'them was in. Made by the first ping, changed by the writer with every new one, hence narrow. Kept '
    'until the copy is erased.';
COMMENT ON COLUMN installations.received IS
    'The sequence numbers that came, almost always one range. Whatever is in here counts no more: this '
    'column is what makes each ping count exactly once.';
COMMENT ON COLUMN installations.received_before IS
    'What received was before the last upload; tells the writer, within its one statement and under the '
    'row''s lock, which of the upload''s pings are new. state_before does the same for the state.';
COMMENT ON COLUMN installations.lost IS
    'Numbers in received that never came: the oldest of more than 64 holes is closed and counted here.';
CREATE INDEX installations_of_product ON installations (product_id, installation_id);

CREATE TABLE states (
    installation_id   uuid        NOT NULL,
    state             bytea       NOT NULL CHECK (length(state) = 16),
    first_received_at timestamptz NOT NULL,
    license_status    text        NOT NULL,
    license_source    text,
    license_key_hash  bytea       CHECK (length(license_key_hash) = 32),
    facts             jsonb       NOT NULL,
    place             jsonb       NOT NULL,
    PRIMARY KEY (installation_id, state)
);
COMMENT ON TABLE states IS
    'A row is a state an installation was in: everything it said of itself that stays the same from ping '
    'to ping, and the place its address was in, with the source and date of that knowledge. Written by the '
    'writer when a ping shows one that is new; most installations have a handful. Kept as long as a ping '
    'or its installation names it.';
COMMENT ON COLUMN states.state IS
    'A keyed digest of the rest of the row; the key is outside the database.';
COMMENT ON COLUMN states.license_key_hash IS
    'A keyed hash of the license key''s digest; the key is outside the database.';

CREATE TABLE pings (
    received_at     timestamptz NOT NULL,
    installation_id uuid        NOT NULL,
    sequence        bigint      NOT NULL CHECK (sequence > 0),
    ping_id         uuid        NOT NULL,
    occurred_at     timestamptz NOT NULL,
    time_suspect    boolean     NOT NULL,
    client_address  inet,
    state           bytea       NOT NULL,
    details         jsonb       NOT NULL,
    features        jsonb,
    PRIMARY KEY (received_at, installation_id, sequence)
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE pings IS
    'A row is a ping that counts; what it said of the machine is in states. Written by the writer before '
    'the upload is acknowledged, never changed but for its address. A partition is a month by the server''s clock, made ahead by '
    'the job "make partitions"; dropped when the retention in fields.toml is over.';
COMMENT ON COLUMN pings.time_suspect IS
    'The installation''s clock was further off than 400 days back or 10 minutes ahead.';
CREATE INDEX pings_history ON pings (installation_id, sequence);

CREATE TABLE pings_default PARTITION OF pings DEFAULT;
COMMENT ON TABLE pings_default IS
    'Takes what no month''s partition takes, so that no good ping is refused. A row in here is an alarm: '
    'the job "make partitions" did not run. It moves them to their month.';

CREATE TABLE forks (
    installation_id uuid        NOT NULL,
    sequence        bigint      NOT NULL,
    ping_id         uuid        NOT NULL,
    stored_ping_id  uuid        NOT NULL CHECK (stored_ping_id <> ping_id),
    received_at     timestamptz NOT NULL,
    occurred_at     timestamptz NOT NULL,
    client_address  inet,
    facts           jsonb       NOT NULL,
    details         jsonb       NOT NULL,
    place           jsonb       NOT NULL,
    PRIMARY KEY (installation_id, sequence, ping_id)
);
COMMENT ON TABLE forks IS
    'A row is a ping whose number another ping already had: two copies went on with one identity. The '
    'stored one is in pings. No accusation: a restored snapshot forks once. Kept as long as the installation.';

CREATE TABLE lineage (
    installation_id uuid        PRIMARY KEY,
    parent_id       uuid        NOT NULL CHECK (parent_id <> installation_id),
    product_id      uuid        NOT NULL,
    enrolled_at     timestamptz NOT NULL,
    client_address  inet
);
COMMENT ON TABLE lineage IS
    'A row is an identity that was made because its parent''s was forked; proven with the parent''s secret. '
    'Written at enrolment. Kept as long as the installation.';

CREATE TABLE quarantine (
    installation_id uuid        NOT NULL,
    sequence        bigint      NOT NULL,
    ping_id         uuid        NOT NULL,
    product_id      uuid        NOT NULL,
    received_at     timestamptz NOT NULL,
    sqlstate        text        NOT NULL,
    message         text        NOT NULL,
    body            bytea       NOT NULL,
    PRIMARY KEY (installation_id, sequence, ping_id)
);
COMMENT ON TABLE quarantine IS
    'A row is a ping that passed every check and that PostgreSQL refused all the same: kept as bytes for '
    'a human, not counted. Written by the writer. Kept 30 days by the job "empty quarantine".';

CREATE TABLE ingest_counts (
    day        date   NOT NULL,
    product_id uuid   NOT NULL,
    outcome    text   NOT NULL,
    count      bigint NOT NULL CHECK (count > 0),
    PRIMARY KEY (day, product_id, outcome)
);
COMMENT ON TABLE ingest_counts IS
    'A row is how often something happened to pings of a product on a day (UTC): duplicate, forked, '
    'rejected:…, unknown_field, stripped_field. Added to every few seconds by each server process, so a '
    'kill -9 costs a few seconds of these counts, and never a ping. Kept 400 days.';

-- ── who may look ───────────────────────────────────────────────────────────────────────────

CREATE TABLE tokens (
    token_id     uuid        PRIMARY KEY,
    digest       bytea       NOT NULL CONSTRAINT tokens_digest_is_unique UNIQUE CHECK (length(digest) = 32),
    role         text        NOT NULL CHECK (role IN ('viewer', 'admin')),
    label        text        NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_on date,
    revoked_at   timestamptz
);
COMMENT ON TABLE tokens IS
    'A row is an API token, as SHA-256; the token itself is shown once. Written by "token create" and '
    '"token revoke". Kept for ever.';

CREATE TABLE sign_in_links (
    digest     bytea       PRIMARY KEY CHECK (length(digest) = 32),
    role       text        NOT NULL CHECK (role IN ('viewer', 'admin')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
COMMENT ON TABLE sign_in_links IS
    'A row is a one-time sign-in link, as SHA-256. Written by "serve" and "sign-in". Removed by the job '
    '"forget sessions" a day after it ran out.';

CREATE TABLE sessions (
    digest       bytea       PRIMARY KEY CHECK (length(digest) = 32),
    role         text        NOT NULL CHECK (role IN ('viewer', 'admin')),
    created_at   timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);
COMMENT ON TABLE sessions IS
    'A row is a signed-in browser, its cookie as SHA-256. Written by sign-in and sign-out. Removed by the '
    'job "forget sessions".';

-- ── the software itself ────────────────────────────────────────────────────────────────────

CREATE TABLE jobs (
    name             text        PRIMARY KEY,
    last_started_at  timestamptz NOT NULL,
    last_finished_at timestamptz,
    last_error       text
);
COMMENT ON TABLE jobs IS
    'A row is a job of the job table and how it last went. Written by the job runner under the job''s '
    'advisory lock. Kept for ever.';

CREATE TABLE keyring_check (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    check_value bytea   NOT NULL CHECK (length(check_value) = 32)
);
COMMENT ON TABLE keyring_check IS
    'The one row tells the keyring that this database was made with from any other, and gives nothing of '
    'it away. Written by the first "serve". Kept for ever.';

CREATE TABLE schema_migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schema_migrations IS
    'A row is a migration that ran, with the SHA-256 of its file: a file that changed since is refused. '
    'Written by "telemetry-server migrate". Kept for ever.';

-- ── for people with psql ───────────────────────────────────────────────────────────────────

CREATE VIEW v_installations AS
SELECT i.installation_id,
       p.slug                                   AS product,
       i.first_received_at,
       i.last_received_at,
       i.last_occurred_at,
       i.last_sequence,
       n.came - i.lost                          AS pings,
       upper(i.received) - 1 - n.came           AS missing,
       i.lost,
       i.client_address,
       s.license_status,
       s.license_source,
       s.facts #>> '{license,source_detail}'    AS license_source_detail,
       s.facts #>> '{license,key_hint}'         AS license_key_hint,
       s.facts #>> '{license,edition}'          AS license_edition,
       s.facts #>> '{service,version}'          AS service_version,
       s.facts #>> '{service,environment}'      AS service_environment,
       s.facts #>> '{os,type}'                  AS os_type,
       s.facts #>> '{os,name}'                  AS os_name,
       s.facts #>> '{os,version}'               AS os_version,
       s.facts #>> '{os,kernel}'                AS os_kernel,
       s.facts #>> '{host,arch}'                AS host_arch,
       s.facts #>> '{virtualization,vm}'        AS virtualization_vm,
       s.facts #>> '{virtualization,container}' AS virtualization_container,
       s.facts #>> '{virtualization,cloud}'     AS virtualization_cloud,
       s.facts #>> '{runtime,name}'             AS runtime_name,
       s.facts #>> '{runtime,version}'          AS runtime_version,
       s.facts #>> '{privacy,level}'            AS privacy_level,
       s.facts #>> '{privacy,notice_version}'   AS privacy_notice_version,
       s.place ->> 'country'                    AS country,
       (s.place ->> 'asn')::bigint              AS asn,
       s.place ->> 'organisation'               AS organisation,
       s.facts,
       s.place
FROM installations AS i
JOIN products AS p USING (product_id)
JOIN states AS s USING (installation_id, state)
CROSS JOIN LATERAL (
    SELECT sum(upper(r) - lower(r))::bigint AS came FROM unnest(i.received) AS r
) AS n;
COMMENT ON VIEW v_installations IS 'Every installation in its present state, with the facts as columns.';

CREATE VIEW v_pings AS
SELECT g.received_at,
       g.installation_id,
       p.slug                                   AS product,
       g.sequence,
       g.ping_id,
       g.occurred_at,
       g.time_suspect,
       g.client_address,
       g.details ->> 'reason'                   AS reason,
       s.license_status,
       s.license_source,
       s.facts #>> '{license,source_detail}'    AS license_source_detail,
       s.facts #>> '{license,key_hint}'         AS license_key_hint,
       s.facts #>> '{license,edition}'          AS license_edition,
       s.facts #>> '{service,version}'          AS service_version,
       s.facts #>> '{service,environment}'      AS service_environment,
       s.facts #>> '{os,type}'                  AS os_type,
       s.facts #>> '{os,name}'                  AS os_name,
       s.facts #>> '{os,version}'               AS os_version,
       s.facts #>> '{os,kernel}'                AS os_kernel,
       s.facts #>> '{host,arch}'                AS host_arch,
       s.facts #>> '{virtualization,vm}'        AS virtualization_vm,
       s.facts #>> '{virtualization,container}' AS virtualization_container,
       s.facts #>> '{virtualization,cloud}'     AS virtualization_cloud,
       s.facts #>> '{runtime,name}'             AS runtime_name,
       s.facts #>> '{runtime,version}'          AS runtime_version,
       s.facts #>> '{privacy,level}'            AS privacy_level,
       s.facts #>> '{privacy,notice_version}'   AS privacy_notice_version,
       s.place ->> 'country'                    AS country,
       (s.place ->> 'asn')::bigint              AS asn,
       s.place ->> 'organisation'               AS organisation,
       g.features,
       g.details,
       s.facts,
       s.place
FROM pings AS g
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
JOIN states AS s ON s.installation_id = g.installation_id AND s.state = g.state;
COMMENT ON VIEW v_pings IS 'Every ping that counts, with the facts of the state it was in as columns.';
