-- The complete schema of the database: the first file to read.
--
-- The migrations in telemetry_server/store/migrations/ lead to the same schema; a test compares both.
-- Needs PostgreSQL 15 or newer, and no extension.
--
-- Tables that grow with the fleet have installation_id in every primary and unique key, so that Citus
-- can distribute them by it; a test on pg_catalog checks that. The other tables are small.
--
-- The history of one installation is read by pings_history, the index on pings (installation_id,
-- sequence): WHERE installation_id = … ORDER BY sequence DESC. Pings have no primary key: of a table in
-- partitions it would contain received_at, and keep no ping from being written twice; installations.received does.

CREATE FUNCTION version_key(version text) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN string_to_array((regexp_match(version, '^[vV]?([0-9]{1,15}(?:\.[0-9]{1,15}){0,7})'))[1], '.')::bigint[];
COMMENT ON FUNCTION version_key IS
    'The leading numbers of a version, which compare as people expect: 7.10 after 7.9. NULL where there are none.';

CREATE FUNCTION facts_by_field(facts jsonb, place jsonb, license_key_hash bytea)
RETURNS TABLE (field text, value text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT s.key || '.' || m.key, m.value #>> '{}'
    FROM jsonb_each(facts) AS s
    CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(s.value) WHEN 'object' THEN s.value ELSE '{}' END) AS m
    WHERE jsonb_typeof(m.value) <> 'object'
    UNION ALL
    SELECT s.key || '.' || m.key || '.' || d.key, d.value #>> '{}'
    FROM jsonb_each(facts) AS s
    CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(s.value) WHEN 'object' THEN s.value ELSE '{}' END) AS m
    CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(m.value) WHEN 'object' THEN m.value ELSE '{}' END) AS d
    UNION ALL
    SELECT 'place.' || p.key, p.value #>> '{}'
    FROM jsonb_each(place) AS p
    WHERE p.key IN ('country', 'region', 'city', 'asn', 'organisation', 'hosting')
    UNION ALL
    SELECT 'license.key', encode(license_key_hash, 'hex') WHERE license_key_hash IS NOT NULL;
END;
COMMENT ON FUNCTION facts_by_field IS
    'What a state says, field by field, as the timeline in changes names them; without the boot id, which '
    'changes with every start, and without the source and date of a place.';

CREATE FUNCTION numbers_in(received int8multirange) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN (SELECT sum(upper(r) - lower(r)) FROM unnest(received) AS r)::bigint;
COMMENT ON FUNCTION numbers_in IS
    'How many numbers there are. A subquery in its place would keep a view from being read in parallel.';

CREATE FUNCTION spreadsheet_text(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    -- Almost every value is NULL, or begins with a letter, a digit or a brace, and does not need the pattern.
    WHEN value IS NULL
      OR (value COLLATE "C" >= 'A' AND value COLLATE "C" < '|'
          OR value COLLATE "C" >= '0' AND value COLLATE "C" < ':') AND strpos(value, ';') = 0 THEN value
    ELSE regexp_replace(
        value,
        '(^|;)(?=[\s\u001c-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"'']*'
        || '[=+\-@|\uff1d\uff0b\uff0d\uff20])|^(?=[\t\r\n])', '\1''', 'g')
END;
COMMENT ON FUNCTION spreadsheet_text IS
    'A text as a cell of CSV: what a spreadsheet would run as a formula gets a '' in front, after a ; too, '
    'where many a spreadsheet begins another cell.';

CREATE FUNCTION day_of_ping(received_at timestamptz, occurred_at timestamptz, time_suspect boolean)
RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (CASE WHEN time_suspect THEN received_at ELSE occurred_at END AT TIME ZONE 'UTC')::date;
COMMENT ON FUNCTION day_of_ping IS
    'The day (UTC) a ping is counted on: by the installation''s clock, unless that is far off.';

CREATE FUNCTION verdict_code(verdict text) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_position(ARRAY['valid', 'trial', 'over_seats', 'expired', 'suspended', 'revoked', 'wrong_product',
                            'wrong_place', 'unknown_key', 'no_key'], verdict)::smallint;
COMMENT ON FUNCTION verdict_code IS 'The number of a verdict in pings; a new verdict takes the next one.';

CREATE FUNCTION verdict_of(code smallint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (ARRAY['valid', 'trial', 'over_seats', 'expired', 'suspended', 'revoked', 'wrong_product',
              'wrong_place', 'unknown_key', 'no_key'])[code];
COMMENT ON FUNCTION verdict_of IS 'The verdict with that number.';

CREATE FUNCTION reason_code(reason text) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_position(ARRAY['start', 'heartbeat', 'license', 'manual'], reason)::smallint;
COMMENT ON FUNCTION reason_code IS 'The number of a reason in pings; a new reason takes the next one.';

CREATE FUNCTION reason_of(code smallint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (ARRAY['start', 'heartbeat', 'license', 'manual'])[code];
COMMENT ON FUNCTION reason_of IS 'The reason with that number.';

CREATE FUNCTION ping_details(reason_code smallint, used_since timestamptz, details jsonb) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
RETURN jsonb_strip_nulls(jsonb_build_object(
    'reason', reason_of(reason_code),
    'usage', CASE WHEN used_since IS NOT NULL THEN jsonb_build_object('since', replace(
        to_char(used_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')) END
)) || coalesce(details, '{}');
COMMENT ON FUNCTION ping_details IS
    'What does not stay the same from ping to ping, as a document, of the columns of pings that hold it.';

CREATE FUNCTION counted(counters bytea) RETURNS TABLE (number integer, uses bigint)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    -- A series in the target list is not materialised: half of the time of one in FROM. OFFSET 0 computes widths once.
    SELECT CASE w.number WHEN 1 THEN get_byte(counters, 1 + n)
                         ELSE get_byte(counters, 1 + 2 * n) * 256 + get_byte(counters, 2 + 2 * n) END,
           CASE w.uses WHEN 1 THEN get_byte(counters, at + n)
                       WHEN 2 THEN get_byte(counters, at + 2 * n) * 256 + get_byte(counters, at + 1 + 2 * n)
                       ELSE ((get_byte(counters, at + 4 * n) * 256 + get_byte(counters, at + 1 + 4 * n)) * 256
                             + get_byte(counters, at + 2 + 4 * n)) * 256 + get_byte(counters, at + 3 + 4 * n)
                       END::bigint
    FROM (
        SELECT c.number, c.uses, 1 + c.count * c.number AS at, generate_series(0, c.count - 1) AS n
        FROM (
            SELECT b.number, b.uses, (length(counters) - 1) / (b.number + b.uses) AS count
            FROM (SELECT get_byte(counters, 0) >> 4, get_byte(counters, 0) & 15) AS b (number, uses)
            OFFSET 0
        ) AS c
    ) AS w;
END;
COMMENT ON FUNCTION counted IS
    'The counters of a ping or a day: numbers of feature_names, and uses. The first byte is the width of a number (1 or '
    '2 bytes) times 16 and that of a count (1, 2 or 4); then come all numbers, then all counts.';

CREATE FUNCTION counters_of(numbers integer[], uses bigint[]) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
BEGIN ATOMIC
    SELECT set_byte('\x00', 0, w.number << 4 | w.uses)
           || string_agg(substr(int2send(u.number::smallint), 3 - w.number), '' ORDER BY u.number)
           || string_agg(substr(int4send(u.uses::integer), 5 - w.uses), '' ORDER BY u.number)
    FROM unnest(numbers, uses) AS u (number, uses)
    CROSS JOIN (SELECT CASE WHEN max(number) < 256 THEN 1 ELSE 2 END,
                       CASE WHEN max(uses) < 256 THEN 1 WHEN max(uses) < 65536 THEN 2 ELSE 4 END
                FROM unnest(numbers, uses) AS m (number, uses)) AS w (number, uses)
    GROUP BY w.number, w.uses;
END;
COMMENT ON FUNCTION counters_of IS
    'The inverse of counted. Numbers are below 32768, and uses below 2147483648; of no counter it is NULL.';

-- ── products ───────────────────────────────────────────────────────────────────────────────

CREATE TABLE products (
    product_id            uuid        PRIMARY KEY,
    slug                  text        NOT NULL CONSTRAINT products_slug_is_unique UNIQUE
                                      CONSTRAINT products_slug_is_a_slug CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name                  text        NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    ping_interval_seconds integer     NOT NULL DEFAULT 86400 CHECK (ping_interval_seconds BETWEEN 60 AND 31536000),
    created_at            timestamptz NOT NULL,
    grace_seconds         integer     NOT NULL DEFAULT 86400 CHECK (grace_seconds BETWEEN 0 AND 31536000),
    lost_after_seconds    integer     NOT NULL DEFAULT 2592000 CHECK (lost_after_seconds BETWEEN 60 AND 315360000),
    new_for_seconds       integer     NOT NULL DEFAULT 604800 CHECK (new_for_seconds BETWEEN 0 AND 31536000),
    simulated             boolean     NOT NULL DEFAULT false,
    reschedule_after      uuid,
    time_zone             text        NOT NULL DEFAULT 'UTC' CHECK (length(time_zone) BETWEEN 1 AND 64)
);
COMMENT ON TABLE products IS
    'A row is a product the vendor sells. Written by "telemetry-server product add". Kept for ever.';

COMMENT ON COLUMN products.grace_seconds IS
    'A copy is late this long after its next ping was due, and lost after lost_after_seconds of silence.';
COMMENT ON COLUMN products.new_for_seconds IS
    'How long a copy is called new after its first ping, and returned after it had been lost.';
COMMENT ON COLUMN products.simulated IS
    'Its fleet was made by "telemetry-server simulate"; every page and export with its numbers says so.';
COMMENT ON COLUMN products.reschedule_after IS
    'Its schedule changed; the phases of its installations after this one are still to be recalculated. '
    'Set by "product change", advanced and cleared by the job "watch deadlines".';
COMMENT ON COLUMN products.time_zone IS
    'The IANA name of the time zone in which its licenses'' dates are days. Set by "product add" and "product change".';

CREATE TABLE product_keys (
    product_key text        PRIMARY KEY CHECK (product_key ~ '^pk_[a-z0-9][a-z0-9-]{0,62}_[A-Za-z0-9_-]{16,}$'),
    product_id  uuid        NOT NULL REFERENCES products,
    created_at  timestamptz NOT NULL,
    revoked_at  timestamptz
);
COMMENT ON TABLE product_keys IS
    'A row is a product key, in clear: it is public, ships in the product, routes and rations, and proves '
    'nothing. Written by "product add" and "product rotate-key". Kept for ever.';

-- ── the license registry ───────────────────────────────────────────────────────────────────

CREATE TABLE editions (
    product_id uuid NOT NULL REFERENCES products,
    edition    text NOT NULL CHECK (length(edition) BETWEEN 1 AND 64),
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    PRIMARY KEY (product_id, edition)
);
COMMENT ON TABLE editions IS
    'A row is an edition of a product, as licenses and pings name it. Written by "telemetry-server edition". '
    'Kept for ever.';

CREATE TABLE releases (
    product_id  uuid   NOT NULL REFERENCES products,
    version     text   NOT NULL CHECK (length(version) BETWEEN 1 AND 64),
    released_on date,
    builds      text[] NOT NULL DEFAULT '{}',
    supported_until date,
    PRIMARY KEY (product_id, version)
);
COMMENT ON TABLE releases IS
    'A row is a released version of a product and the digests of its builds, as service.build names them. '
    'Written by "telemetry-server release". Kept for ever.';
COMMENT ON COLUMN releases.supported_until IS 'The last day on which the version is supported; NULL: no end is known.';

CREATE TABLE customers (
    customer_id       uuid        PRIMARY KEY,
    email             text        CHECK (length(email) BETWEEN 3 AND 254),
    name              text        CHECK (length(name) BETWEEN 1 AND 256),
    company           text        CHECK (length(company) BETWEEN 1 AND 256),
    tax_id            text        CHECK (length(tax_id) BETWEEN 1 AND 64),
    technical_contact text        CHECK (length(technical_contact) BETWEEN 1 AND 256),
    custom            jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(custom) = 'object'),
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    account           text        CHECK (length(account) BETWEEN 1 AND 256),
    CONSTRAINT customers_are_named CHECK (num_nonnulls(email, name, company) > 0)
);
CREATE UNIQUE INDEX customers_email_is_unique ON customers (lower(email));
CREATE UNIQUE INDEX customers_account_is_unique ON customers (account);
CREATE INDEX customers_by_words ON customers
    USING gin (to_tsvector('simple', coalesce(company, '') || ' ' || coalesce(name, '')));
CREATE INDEX customers_by_domain ON customers (split_part(lower(email), '@', 2));
COMMENT ON TABLE customers IS
    'A row is a party that owns licenses: the personal data of this database. Written by imports, the API, '
    'the shop''s webhook and "telemetry-server customer". Nothing removes it yet.';
COMMENT ON COLUMN customers.account IS
    'Which account of a marketplace or another system it is, e.g. envato:ann_lee; tells customers apart who have no e-mail.';

CREATE TABLE customer_notes (
    note_id     uuid        PRIMARY KEY,
    customer_id uuid        NOT NULL REFERENCES customers ON DELETE CASCADE,
    written_at  timestamptz NOT NULL,
    author      text        NOT NULL CHECK (length(author) BETWEEN 1 AND 300),
    note        text        NOT NULL CHECK (length(note) BETWEEN 1 AND 4000)
);
CREATE INDEX customer_notes_of ON customer_notes (customer_id, written_at);
COMMENT ON TABLE customer_notes IS
    'A row is a note on a customer, written on its page. Personal data of the customer. Kept as long as the customer.';

CREATE TABLE licenses (
    license_id        uuid        PRIMARY KEY,
    product_id        uuid        NOT NULL REFERENCES products,
    customer_id       uuid        REFERENCES customers,
    key_hash          bytea       NOT NULL CHECK (length(key_hash) = 32),
    key_hint          text        NOT NULL CHECK (length(key_hint) BETWEEN 1 AND 8),
    status            text        NOT NULL DEFAULT 'active'
                                  CHECK (status IN ('active', 'suspended', 'revoked', 'refunded')),
    type              text        NOT NULL DEFAULT 'purchased'
                                  CHECK (type IN ('purchased', 'subscription', 'trial', 'not_for_resale', 'internal')),
    source            text        CHECK (source IN ('direct', 'reseller', 'marketplace', 'bundle', 'gift')),
    source_detail     text        CHECK (length(source_detail) BETWEEN 1 AND 256),
    order_reference   text        CHECK (length(order_reference) BETWEEN 1 AND 256),
    edition           text        CHECK (length(edition) BETWEEN 1 AND 64),
    seats             integer     CHECK (seats > 0),
    overage           text        NOT NULL DEFAULT 'none' CHECK (overage IN ('none', '1.25x', '1.5x', '2x', 'any')),
    domains           text[]      NOT NULL DEFAULT '{}',
    addresses         inet[]      NOT NULL DEFAULT '{}',
    directories       text[]      NOT NULL DEFAULT '{}',
    free_environments text[]      NOT NULL DEFAULT '{development,staging}',
    starts_at         timestamptz,
    expires_at        timestamptz,
    custom            jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(custom) = 'object'),
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    seats_used        integer     NOT NULL DEFAULT 0 CHECK (seats_used >= 0),
    stale             boolean     NOT NULL DEFAULT true,
    addresses_enforced boolean NOT NULL DEFAULT true,
    over_since        timestamptz,
    CONSTRAINT licenses_key_is_unique UNIQUE (key_hash),
    CONSTRAINT licenses_start_before_they_expire CHECK (starts_at < expires_at)
);
CREATE INDEX licenses_of_customer ON licenses (customer_id);
CREATE INDEX licenses_of_product ON licenses (product_id, license_id);
CREATE INDEX licenses_by_status ON licenses (status, license_id);
CREATE INDEX licenses_by_order ON licenses (order_reference);
CREATE INDEX licenses_by_expiry ON licenses (expires_at, license_id);
CREATE INDEX licenses_by_hint ON licenses (key_hint);
CREATE INDEX licenses_over ON licenses (license_id) WHERE seats_used > seats;
CREATE INDEX licenses_stale ON licenses (updated_at, license_id) WHERE stale;
COMMENT ON TABLE licenses IS
    'A row is a license of the registry; the key itself is not here. Written by imports, the API, the shop''s '
    'webhook and "telemetry-server license". Kept for ever: a license that ends is revoked, not removed.';
COMMENT ON COLUMN licenses.key_hash IS
    'A keyed hash of the digest that stands for the key on the wire, as in states.license_key_hash.';
COMMENT ON COLUMN licenses.seats IS
    'How many installations may run on it; NULL is any number. overage says from what excess on that counts as over_seats.';
COMMENT ON COLUMN licenses.addresses IS
    'Networks the installations must report from; empty: anywhere. Recorded only where addresses_enforced is false. '
    'domains and directories are recorded for people.';
COMMENT ON COLUMN licenses.seats_used IS
    'Installations on it that are neither late nor lost, and not in a free environment. Counted by the job "judge installations".';
COMMENT ON COLUMN licenses.stale IS
    'It changed since its installations were judged. Set with every change, taken back by the job "judge installations".';
COMMENT ON COLUMN licenses.over_since IS
    'Since when seats_used has been above seats, allowed overage or not. NULL: it is not, or the job "judge installations" '
    'has not found out yet.';

CREATE TABLE license_keys (
    key_hash   bytea NOT NULL PRIMARY KEY CHECK (length(key_hash) = 32),
    license_id uuid  NOT NULL REFERENCES licenses,
    product_id uuid  NOT NULL
);
CREATE INDEX license_keys_of_license ON license_keys (license_id);
COMMENT ON TABLE license_keys IS
    'A row is the hash that a license''s key has in pings of the product product_id: of its own product, and of '
    'each other product that existed when the key was added, so that a key used for the wrong product is known. '
    'Written with its license.';

CREATE TABLE registry_changes (
    change_id  uuid        PRIMARY KEY,
    changed_at timestamptz NOT NULL,
    entity     text        NOT NULL CHECK (entity IN ('customer', 'license', 'edition', 'release')),
    entity_id  text        NOT NULL,
    actor      text        NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),
    reason     text        CHECK (length(reason) BETWEEN 1 AND 1000),
    before     jsonb,
    after      jsonb       NOT NULL
);
CREATE INDEX registry_changes_of ON registry_changes (entity, entity_id, changed_at);
COMMENT ON TABLE registry_changes IS
    'A row is a change of the registry: of what, when, by whom and why; before and after hold the fields that '
    'changed. before is NULL where the row was made. Written in the transaction of the change. Kept for ever.';

CREATE TABLE webhook_deliveries (
    webhook_id  text        PRIMARY KEY CHECK (length(webhook_id) BETWEEN 1 AND 256),
    received_at timestamptz NOT NULL
);
COMMENT ON TABLE webhook_deliveries IS
    'A row is a message of the shop that was carried out: a repeated one is not. Written by the webhook. Kept 30 '
    'days by the job "forget deliveries".';

CREATE TABLE shop_fields (
    license_id  uuid        NOT NULL REFERENCES licenses ON DELETE CASCADE,
    field       text        NOT NULL CHECK (length(field) BETWEEN 1 AND 128),
    happened_at timestamptz NOT NULL,
    webhook_id  text        NOT NULL CHECK (length(webhook_id) BETWEEN 1 AND 256),
    PRIMARY KEY (license_id, field)
);
COMMENT ON TABLE shop_fields IS
    'A row is a field of a license that the shop set: when that happened, and in which message. A message that comes '
    'late changes only what no later one set. Written by the webhook. Kept as long as the license.';

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
    state_before      bytea,
    address_moved     boolean        NOT NULL DEFAULT false
) WITH (fillfactor = 80);
COMMENT ON TABLE installations IS
    'A row is an installed copy: the numbers of the pings it sent, and which of its states the newest of '
    'them was in. Made by the first ping, changed by the writer with every new one, hence narrow. Kept '
    'until the copy is erased.';
COMMENT ON COLUMN installations.received IS
    'The sequence numbers received, almost always one range. A number in here is not counted again: this '
    'column is what makes each ping count exactly once.';
COMMENT ON COLUMN installations.received_before IS
    'What received was before the last upload; tells the writer, within its one statement and under the '
    'row''s lock, which of the upload''s pings are new. state_before does the same for the state.';
COMMENT ON COLUMN installations.lost IS
    'Numbers in received that never came: the oldest of more than 64 holes is closed and counted here.';
COMMENT ON COLUMN installations.address_moved IS
    'The last upload came from another address than the one before; tells the writer so, as received_before does.';
CREATE INDEX installations_by_address ON installations (client_address);
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
    license_source_detail    text    GENERATED ALWAYS AS (facts #>> '{license,source_detail}') STORED,
    license_key_hint         text    GENERATED ALWAYS AS (facts #>> '{license,key_hint}') STORED,
    license_edition          text    GENERATED ALWAYS AS (facts #>> '{license,edition}') STORED,
    service_version          text    GENERATED ALWAYS AS (facts #>> '{service,version}') STORED,
    service_environment      text    GENERATED ALWAYS AS (facts #>> '{service,environment}') STORED,
    os_type                  text    GENERATED ALWAYS AS (facts #>> '{os,type}') STORED,
    os_name                  text    GENERATED ALWAYS AS (facts #>> '{os,name}') STORED,
    os_version               text    GENERATED ALWAYS AS (facts #>> '{os,version}') STORED,
    os_kernel                text    GENERATED ALWAYS AS (facts #>> '{os,kernel}') STORED,
    host_arch                text    GENERATED ALWAYS AS (facts #>> '{host,arch}') STORED,
    virtualization_vm        text    GENERATED ALWAYS AS (facts #>> '{virtualization,vm}') STORED,
    virtualization_container text    GENERATED ALWAYS AS (facts #>> '{virtualization,container}') STORED,
    virtualization_cloud     text    GENERATED ALWAYS AS (facts #>> '{virtualization,cloud}') STORED,
    virtualization_told      boolean GENERATED ALWAYS AS (facts ? 'virtualization') STORED,
    runtime_name             text    GENERATED ALWAYS AS (facts #>> '{runtime,name}') STORED,
    runtime_version          text    GENERATED ALWAYS AS (facts #>> '{runtime,version}') STORED,
    privacy_level            text    GENERATED ALWAYS AS (facts #>> '{privacy,level}') STORED,
    privacy_notice_version   text    GENERATED ALWAYS AS (facts #>> '{privacy,notice_version}') STORED,
    country                  text    GENERATED ALWAYS AS (place ->> 'country') STORED,
    asn                      text    GENERATED ALWAYS AS (place ->> 'asn') STORED,
    organisation             text    GENERATED ALWAYS AS (place ->> 'organisation') STORED,
    region                   text    GENERATED ALWAYS AS (place ->> 'region') STORED,
    city                     text    GENERATED ALWAYS AS (place ->> 'city') STORED,
    place_source             text    GENERATED ALWAYS AS (place ->> 'source') STORED,
    place_built_on           text    GENERATED ALWAYS AS (place ->> 'built_on') STORED,
    place_prefix_length      text    GENERATED ALWAYS AS (place ->> 'prefix_length') STORED,
    hosting                  text    GENERATED ALWAYS AS (place ->> 'hosting') STORED,
    hosting_source           text    GENERATED ALWAYS AS (place ->> 'hosting_source') STORED,
    PRIMARY KEY (installation_id, state)
);
COMMENT ON TABLE states IS
    'A row is a state an installation was in: everything it said of itself that stays the same from ping '
    'to ping, and the place its address was in, with the source and date of that knowledge. Written by the '
    'writer when a ping shows one that is new; most installations have a handful. Kept as long as a ping '
    'or its installation names it.';
COMMENT ON COLUMN states.state IS
    'A keyed digest of the rest of the row but what is generated; the key is outside the database.';
COMMENT ON COLUMN states.license_key_hash IS
    'A keyed hash of the license key''s digest; the key is outside the database.';
COMMENT ON COLUMN states.facts IS
    'What it said of itself, by section and field as in fields.md. The generated columns say what is counted, filtered '
    'or shown of this and of place; to take one out of JSON takes longer than to read all of them. They are text: a '
    'cast that fails would keep a ping out.';

CREATE TABLE installation_facts (
    installation_id   uuid        PRIMARY KEY,
    product_id        uuid        NOT NULL,
    first_received_at timestamptz NOT NULL,
    license_status    text        NOT NULL,
    license_source    text        NOT NULL,
    edition           text        NOT NULL,
    version           text        NOT NULL,
    version_key       bigint[],
    environment       text        NOT NULL,
    os_name           text        NOT NULL,
    vm                text        NOT NULL,
    container         text        NOT NULL,
    cloud             text        NOT NULL,
    country           text        NOT NULL,
    asn               text        NOT NULL,
    hosting           boolean,
    license_key_hash  bytea       CHECK (length(license_key_hash) = 32),
    license_id        uuid,
    verdict           text        NOT NULL,
    claim_mismatch    boolean     NOT NULL,
    source_mismatch   boolean     NOT NULL,
    judged_at         timestamptz NOT NULL,
    judge_again       boolean     NOT NULL DEFAULT true,
    counted_key_hash  bytea       CHECK (length(counted_key_hash) = 32),
    life              text        NOT NULL CHECK (life IN ('new', 'active', 'late', 'lost', 'returned')),
    life_since        timestamptz NOT NULL,
    due_at            timestamptz NOT NULL,
    sequence          bigint      NOT NULL DEFAULT 0,
    state             bytea,
    license_source_detail text,
    arch              text
);
CREATE INDEX installation_facts_of_product ON installation_facts (product_id, installation_id);
CREATE INDEX installation_facts_by_verdict ON installation_facts (verdict, installation_id);
CREATE INDEX installation_facts_by_country ON installation_facts (country, installation_id);
CREATE INDEX installation_facts_by_asn ON installation_facts (asn, installation_id);
CREATE INDEX installation_facts_by_version ON installation_facts (version, installation_id);
CREATE INDEX installation_facts_by_version_numbers ON installation_facts (version_key);
CREATE INDEX installation_facts_by_life_since ON installation_facts (life_since);
CREATE INDEX installation_facts_by_life ON installation_facts (life, installation_id);
CREATE INDEX installation_facts_by_key ON installation_facts (license_key_hash, installation_id)
    WHERE license_key_hash IS NOT NULL;
CREATE INDEX installation_facts_by_first_ping ON installation_facts (first_received_at);
CREATE INDEX installation_facts_of_license ON installation_facts (license_id) WHERE license_id IS NOT NULL;
CREATE INDEX installation_facts_due ON installation_facts (due_at);
CREATE INDEX installation_facts_to_judge ON installation_facts (installation_id) WHERE judge_again;
COMMENT ON TABLE installation_facts IS
    'A row is what an installation is now, as people filter and count it; what changes with every ping is in '
    'installations. Written by the writer when a state, a verdict or a life changes, by the job "judge '
    'installations" (verdict as of today), by the job "watch deadlines" (life) and by the job "catch up" (news '
    'that the writer could not note). Kept as its installation.';
COMMENT ON COLUMN installation_facts.vm IS
    'Here and in container and cloud: "none" was not found. In every column: "unknown" was not reported.';
COMMENT ON COLUMN installation_facts.arch IS
    'Here and in license_source_detail, NULL: the job "catch up" has not filled it yet.';
COMMENT ON COLUMN installation_facts.verdict IS
    'What the registry says today of the newest claim; pings.verdict is what it said at the time.';
COMMENT ON COLUMN installation_facts.judge_again IS
    'Its key, life, environment or verdict changed: the seats of its license, and of counted_key_hash, the previous '
    'one, are to be counted again, and its verdict is to be decided from the current registry. Cleared by the '
    'job "judge installations".';
COMMENT ON COLUMN installation_facts.sequence IS
    'The newest ping whose news are in this row and in changes; state is the state it had. An installation in '
    'another state has news that are not recorded yet: the job "catch up" records them.';
COMMENT ON COLUMN installation_facts.due_at IS
    'When its life may change next. A ping leaves it alone: whoever finds it over looks at last_received_at.';

CREATE TABLE changes (
    installation_id uuid        NOT NULL,
    changed_at      timestamptz NOT NULL,
    sequence        bigint      NOT NULL,
    field           text        NOT NULL,
    before          text,
    after           text,
    PRIMARY KEY (installation_id, changed_at, sequence, field)
);
CREATE INDEX changes_by_field ON changes (field, changed_at);
CREATE INDEX changes_by_time ON changes (changed_at);
CREATE INDEX changes_of_key ON changes (before) WHERE field = 'license.key';
COMMENT ON TABLE changes IS
    'A row is a fact of an installation that changed, and when the server learned it: by the ping of that '
    'number, or, for verdict and life, after it. Written by the writer and the jobs "judge installations", '
    '"watch deadlines" and "catch up". Kept as long as facts are, verdict and life as the installation; addresses as long as addresses are.';

CREATE TABLE pings (
    received_at     timestamptz NOT NULL,
    installation_id uuid        NOT NULL,
    sequence        bigint      NOT NULL CHECK (sequence > 0),
    ping_id         uuid        NOT NULL,
    occurred_at     timestamptz NOT NULL,
    time_suspect    boolean     NOT NULL,
    client_address  inet,
    state           bytea       NOT NULL,
    details         jsonb,
    features        jsonb,
    verdict         text,
    claim_mismatch  boolean,
    source_mismatch boolean,
    reason_code     smallint,
    verdict_code    smallint,
    used_since      timestamptz,
    counters        bytea
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE pings IS
    'A row is a ping that counts; what it reported of the machine is in states. Written by the writer before '
    'the upload is acknowledged; only its address changes later. A partition is a month by the server''s clock, made '
    'ahead by the job "make partitions" and dropped after the retention in fields.toml.';
COMMENT ON COLUMN pings.time_suspect IS
    'The installation''s clock was further off than 400 days back or 10 minutes ahead.';
COMMENT ON COLUMN pings.details IS
    'What has no column of its own. Of pings of earlier versions also what reason_code and used_since hold now.';
COMMENT ON COLUMN pings.features IS
    'Counters that counters cannot hold: without a number in feature_names, or above 2147483647. Of pings of earlier '
    'versions all.';
COMMENT ON COLUMN pings.verdict IS
    'Of pings of earlier versions: what verdict_code holds now.';
COMMENT ON COLUMN pings.verdict_code IS
    'What the registry said of the claim when the ping came. NULL, and verdict too: it came before there was a registry.';
COMMENT ON COLUMN pings.used_since IS 'When the counters were last at zero.';
COMMENT ON COLUMN pings.counters IS 'How often each feature was used since the ping before; the function counted reads it.';
CREATE INDEX pings_history ON pings (installation_id, sequence);
CREATE INDEX pings_suspect ON pings (received_at) WHERE time_suspect;
CREATE INDEX pings_received ON pings (received_at);

CREATE TABLE pings_default PARTITION OF pings DEFAULT;
COMMENT ON TABLE pings_default IS
    'Takes what no month''s partition takes, so that no good ping is refused. A row in here is an alarm: '
    'the job "make partitions" did not run. It moves them to their month.';

CREATE TABLE feature_names (
    number     integer PRIMARY KEY CHECK (number BETWEEN 0 AND 32767),
    name       text    NOT NULL CONSTRAINT feature_names_name_is_unique UNIQUE,
    json_key   text    NOT NULL,
    product_id uuid    NOT NULL
);
COMMENT ON COLUMN feature_names.json_key IS
    'The name in quotes, and a colon: views write JSON with it in half of the time of jsonb_object_agg.';
COMMENT ON TABLE feature_names IS
    'A row is the name of a feature and its number in the counters of pings and installation_days; product_id named it '
    'first. Written by the writer before the first ping with the name. Kept for ever: a number is never used again.';

CREATE FUNCTION feature_uses(counters bytea, features jsonb, numbers jsonb DEFAULT '{}')
RETURNS TABLE (number integer, name text, uses numeric)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT c.number, '', c.uses FROM counted(counters) AS c
    UNION ALL
    SELECT coalesce((numbers -> e.key)::integer, -1), CASE WHEN numbers ? e.key THEN '' ELSE e.key END, e.value::numeric
    FROM jsonb_each(features) AS e;
END;
COMMENT ON FUNCTION feature_uses IS
    'The uses of each feature in these columns of pings or installation_days: by its number, and those in features, which '
    'may have a number in feature_names, by name with the number -1. numbers: the numbers of names that count by number.';

CREATE FUNCTION names_generation() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()), current_database(), pg_relation_filenode('feature_names'));
COMMENT ON FUNCTION names_generation IS
    'Changes where names could have other numbers than a process remembers: the database was restored, or is another one.';

CREATE FUNCTION run_on_node(statement text, shards bigint[], arguments text[], has_rows boolean, key uuid)
RETURNS TABLE (kind text, installation_id uuid, sequence bigint, received int8multirange)
LANGUAGE plpgsql
SET plan_cache_mode = 'force_generic_plan' -- these as on the connections of the writer
SET enable_seqscan = 'off'
SET lock_timeout = '3s'
AS $$
DECLARE
    prepared text;
    on_shard text;
    call     text;
    name     text;
    of_shard text;
BEGIN
    PERFORM lock_shard_metadata(5, shards); -- as each write of Citus: until the commit, no shard moves away
    IF EXISTS (SELECT FROM unnest(shards) AS s (shardid)
               WHERE NOT EXISTS (SELECT FROM pg_dist_placement AS p
                                 JOIN pg_dist_local_group AS g ON g.groupid = p.groupid
                                 WHERE p.shardid = s.shardid)) THEN
        RAISE EXCEPTION 'a shard is on another node' USING ERRCODE = 'serialization_failure';
    END IF;
    FOR number IN 1 .. cardinality(shards) LOOP
        prepared := concat_ws(' ', 'shard', shards[number], md5(statement));
        IF NOT EXISTS (SELECT FROM pg_prepared_statements AS p WHERE p.name = prepared) THEN
            on_shard := statement;
            FOR name, of_shard IN
                SELECT c.relname, shard_name(o.logicalrelid, o.shardid)
                FROM pg_dist_shard AS s
                JOIN pg_dist_partition AS t ON t.logicalrelid = s.logicalrelid
                JOIN pg_dist_partition AS r ON r.colocationid = t.colocationid OR r.repmodel = 't'
                JOIN pg_dist_shard AS o ON o.logicalrelid = r.logicalrelid
                                       AND (r.repmodel = 't' OR o.shardminvalue = s.shardminvalue)
                JOIN pg_class AS c ON c.oid = o.logicalrelid
                WHERE s.shardid = shards[number]
            LOOP
                on_shard := regexp_replace(on_shard, '\m(FROM|JOIN|INTO) ' || name || '\M', '\1 ' || of_shard, 'g');
            END LOOP;
            EXECUTE format('PREPARE %I AS %s', prepared, on_shard);
        END IF;
        SELECT format('EXECUTE %I (%s)', prepared, string_agg(quote_nullable(a.value), ', ' ORDER BY a.place))
        INTO call
        FROM unnest(arguments[number:number][:]) WITH ORDINALITY AS a (value, place);
        IF has_rows THEN
            RETURN QUERY EXECUTE call;
        ELSE
            EXECUTE call;
        END IF;
    END LOOP;
END;
$$;
COMMENT ON FUNCTION run_on_node IS
    'Runs a statement of the writer on a node of a cluster, once for each of these shards, on the tables of the shard and '
    'with its row of the arguments. The node of the installation key runs it as one transaction of its own.';

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
    'A row is a ping with a number that another ping already had: two copies continued with one identity. The '
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
    'Written at enrolment. Kept as long as the installation; one that never sends a ping, 30 days by the job '
    '"forget enrolments".';

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

CREATE TABLE hostnames (
    address      inet        PRIMARY KEY,
    hostname     text        CHECK (length(hostname) BETWEEN 1 AND 255),
    looked_up_at timestamptz NOT NULL
);
CREATE INDEX hostnames_by_name ON hostnames (reverse(lower(hostname)) text_pattern_ops);
COMMENT ON TABLE hostnames IS
    'A row is what the DNS said of an address; NULL: nothing. Written by the job "look up hostnames", which is '
    'off by default. Kept as long as addresses are.';

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

CREATE TABLE outages (
    began_at timestamptz PRIMARY KEY,
    ended_at timestamptz NOT NULL,
    CONSTRAINT outages_begin_before_they_end CHECK (began_at < ended_at)
);
COMMENT ON TABLE outages IS
    'A row is a time in which no copy could report, or in which none did though several were due: it is no '
    'silence of theirs. ended_at includes what copies take to come back. Written by the job "watch '
    'deadlines". Kept for ever.';

-- ── to clear up ──────────────────────────────────────────────────────────────────────────

CREATE TABLE clear_up_items (
    clear_up_id     uuid        PRIMARY KEY,
    kind            text        NOT NULL CHECK (kind ~ '^[a-z_]{1,64}$'),
    subject         text        NOT NULL CHECK (length(subject) BETWEEN 1 AND 300),
    product_id      uuid        NOT NULL REFERENCES products ON DELETE CASCADE,
    license_id      uuid        REFERENCES licenses ON DELETE CASCADE,
    size            bigint      NOT NULL CHECK (size > 0),
    evidence        jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(evidence) = 'object'),
    first_at        timestamptz NOT NULL,
    last_at         timestamptz NOT NULL,
    opened_at       timestamptz NOT NULL,
    closed_at       timestamptz,
    state           text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'asked', 'explained')),
    explained_until date,
    owner           text        CHECK (length(owner) BETWEEN 1 AND 300),
    CONSTRAINT clear_up_items_subject_is_unique UNIQUE (kind, subject),
    CONSTRAINT clear_up_items_are_explained_until_a_day CHECK ((state = 'explained') = (explained_until IS NOT NULL))
);
CREATE INDEX clear_up_items_open ON clear_up_items (kind, size) WHERE closed_at IS NULL;
COMMENT ON TABLE clear_up_items IS
    'A row is a doubt about a license, a key or an installation (subject), and how far people are with it. Written by '
    'the job "list what to clear up", which closes it when its facts are gone and opens it again when they are back; '
    'state, owner and explained_until by the page "To clear up". Kept for ever.';
COMMENT ON COLUMN clear_up_items.subject IS
    'The id of the license or the installation; of an unknown key the id of its product, a slash, and its hash in hex.';
COMMENT ON COLUMN clear_up_items.size IS 'How many copies; of an identity that copies share, how many forked pings.';
COMMENT ON COLUMN clear_up_items.first_at IS 'Since when the facts hold, as far as known when the row was opened.';

CREATE TABLE clear_up_changes (
    change_id   uuid        NOT NULL,
    clear_up_id uuid        NOT NULL REFERENCES clear_up_items ON DELETE CASCADE,
    changed_at  timestamptz NOT NULL,
    actor       text        NOT NULL CHECK (length(actor) BETWEEN 1 AND 300),
    note        text        CHECK (length(note) BETWEEN 1 AND 1000),
    before      jsonb       NOT NULL,
    after       jsonb       NOT NULL,
    undone_at   timestamptz,
    PRIMARY KEY (change_id, clear_up_id)
);
CREATE INDEX clear_up_changes_of ON clear_up_changes (clear_up_id, changed_at);
COMMENT ON TABLE clear_up_changes IS
    'A row is what a person did with an item: its state, owner and explained_until before and after. The rows of one action '
    'have the same change_id, and are undone together. Written by the page "To clear up". Kept as long as the item.';

CREATE TABLE followed_installations (
    installation_id uuid        PRIMARY KEY,
    followed_until  timestamptz NOT NULL,
    pings           jsonb       NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(pings) = 'array')
);
COMMENT ON TABLE followed_installations IS
    'A row is an installation that someone follows on the page "Live", with its 20 newest pings since then: the declared '
    'fields as they were sent, the names of what was dropped, the outcome. Written by each server process. Removed two '
    'minutes after the last one looked.';
COMMENT ON COLUMN followed_installations.pings IS 'The newest first. Without digests and without the values of dropped fields.';

-- ── counts ─────────────────────────────────────────────────────────────────────────────────

CREATE TABLE installation_days (
    day             date    NOT NULL,
    installation_id uuid    NOT NULL,
    product_id      uuid    NOT NULL,
    state           bytea   NOT NULL,
    verdict         text    NOT NULL,
    claim_mismatch  boolean NOT NULL,
    source_mismatch boolean NOT NULL,
    pings           integer NOT NULL CHECK (pings > 0),
    features        jsonb,
    counters        bytea,
    PRIMARY KEY (day, installation_id)
) PARTITION BY RANGE (day);
CREATE INDEX installation_days_history ON installation_days (installation_id, day);
COMMENT ON TABLE installation_days IS
    'A row is an installation on a day (UTC, by its own clock unless that is far off): its last state and '
    'verdict of the day, its pings, the sums of its counters. Written by the job "roll up pings", which '
    'replaces it. A partition is a month; dropped after the retention of pings and of counters.';
COMMENT ON COLUMN installation_days.counters IS 'The sums of its counters, and in features those that it cannot hold, as in pings.';

CREATE TABLE installation_days_default PARTITION OF installation_days DEFAULT;
COMMENT ON TABLE installation_days_default IS 'As pings_default.';

CREATE TABLE fleet_days (
    product_id      uuid   NOT NULL,
    day             date   NOT NULL,
    dimension       text   NOT NULL,
    value           text   NOT NULL,
    verdict         text   NOT NULL,
    installations   bigint NOT NULL CHECK (installations > 0),
    pings           bigint NOT NULL CHECK (pings > 0),
    PRIMARY KEY (product_id, dimension, verdict, day, value)
);
CREATE INDEX fleet_days_of_day ON fleet_days (product_id, day);
COMMENT ON TABLE fleet_days IS
    'A row is the number of installations of a product that sent a ping on a day with that value of that dimension, '
    'and that verdict (empty: any verdict). The dimension "all" has one empty value. Written by the '
    'job "roll up days", which replaces a product''s day. Kept for ever: it holds no data of a person.';

CREATE TABLE feature_days (
    product_id    uuid    NOT NULL,
    day           date    NOT NULL,
    feature       text    NOT NULL,
    uses          numeric NOT NULL,
    installations bigint  NOT NULL CHECK (installations > 0),
    PRIMARY KEY (product_id, day, feature)
);
COMMENT ON TABLE feature_days IS
    'A row is how often a feature of a product was used on a day, and on how many installations. Written by '
    'the job "roll up days", which replaces a product''s day. Kept for ever.';

CREATE TABLE active_days (
    product_id      uuid   NOT NULL,
    day             date   NOT NULL,
    dimension       text   NOT NULL,
    value           text   NOT NULL,
    verdict         text   NOT NULL,
    installations   bigint NOT NULL CHECK (installations > 0),
    PRIMARY KEY (product_id, dimension, verdict, day, value)
);
CREATE INDEX active_days_of_day ON active_days (product_id, day);
COMMENT ON TABLE active_days IS
    'A row is the number of installations of a product at the end of a day (UTC) with that value of that dimension, and '
    'that verdict (empty: any verdict); without lost ones, except of the dimension life. Written by the job "count active '
    'copies", which replaces a product''s day. Kept for ever: it holds no data of a person.';
COMMENT ON COLUMN active_days.dimension IS
    'Beside those of fleet_days: life, hosting, claim_mismatch, source_mismatch; turned: new, returned and lost count the '
    'installations that became so on the day.';

CREATE TABLE feature_value_days (
    product_id    uuid    NOT NULL,
    day           date    NOT NULL,
    dimension     text    NOT NULL,
    value         text    NOT NULL,
    feature       text    NOT NULL,
    uses          numeric NOT NULL,
    installations bigint  NOT NULL CHECK (installations > 0),
    PRIMARY KEY (product_id, dimension, day, value, feature)
);
COMMENT ON TABLE feature_value_days IS
    'A row is how often a feature of a product was used on a day by the installations with that version, edition, verdict '
    'or life (the dimension), and by how many; feature is empty for all that sent a ping, so that shares can be '
    'calculated. Written by the job "count active copies", which replaces a product''s day. Kept for ever.';

CREATE TABLE cohort_weeks (
    product_id uuid   NOT NULL,
    cohort     date   NOT NULL,
    week       date   NOT NULL,
    active     bigint NOT NULL CHECK (active >= 0),
    lost       bigint NOT NULL CHECK (lost >= 0),
    returned   bigint NOT NULL CHECK (returned >= 0),
    PRIMARY KEY (product_id, cohort, week)
);
COMMENT ON TABLE cohort_weeks IS
    'A row is, of the installations first seen in the week of the Monday cohort, the number that were seen, '
    'were lost and returned in the week of the Monday week (UTC). Written by the job "roll up cohorts", which '
    'replaces it. Kept for ever.';

CREATE TABLE fleet_now (
    product_id uuid     NOT NULL,
    dimension  text     NOT NULL,
    value      text     NOT NULL,
    depth      smallint NOT NULL CHECK (depth >= 0),
    count      bigint   NOT NULL CHECK (count > 0),
    PRIMARY KEY (product_id, dimension, value, depth)
);
COMMENT ON TABLE fleet_now IS
    'A row is the number of installations of a product that have that value of that dimension now and were last seen in '
    'that many of the ranges on the pages (0: longer ago than in any). Written by the job "count the fleet" where the '
    'fleet is large; empty where it is small: there the same statements count for each request. Replaced all the time.';
COMMENT ON COLUMN fleet_now.dimension IS
    'Beside those of fleet_days: life and the flags, as in the filter language; with_missing and with_lost '
    '(installations), missing and lost (pings); new (depth is that of the first ping), new_on and new_in (value is its '
    'day, its hour) and pings_in (pings received in the hour of value).';

CREATE TABLE operators (
    asn           text   PRIMARY KEY,
    organisation  text   NOT NULL CHECK (length(organisation) BETWEEN 1 AND 256),
    installations bigint NOT NULL CHECK (installations > 0)
);
COMMENT ON TABLE operators IS
    'A row is a network operator, its name in the places of addresses, and the number of its installations. Written by the '
    'job "count active copies" once a day, which replaces all rows. Used to search for names.';

CREATE TABLE rollup_marks (
    name       text        PRIMARY KEY,
    reached_at timestamptz NOT NULL
);
COMMENT ON TABLE rollup_marks IS
    'A row is up to when, by the server''s clock, a job has seen what there was. Written by the roll-up jobs, '
    '"judge installations" (licenses that expire), "shorten addresses", "erase addresses", "forget old pings" and '
    '"forget old counters" (what is before it is gone for good); "serving" by every '
    'server process: up to when there was one.';

CREATE TABLE days_due (
    product_id uuid        NOT NULL,
    day        date        NOT NULL,
    due_since  timestamptz NOT NULL,
    PRIMARY KEY (product_id, day)
);
COMMENT ON TABLE days_due IS
    'A row is a day of a product whose installation_days changed since fleet_days and feature_days were made '
    'from them. Written by the job "roll up pings", removed by "roll up days".';

CREATE TABLE active_due (
    product_id uuid        NOT NULL,
    day        date        NOT NULL,
    due_since  timestamptz NOT NULL,
    PRIMARY KEY (product_id, day)
);
COMMENT ON TABLE active_due IS
    'A row is a day of a product to be counted again in active_days: the present one, one that a late ping changed, one '
    'in which an installation became late or lost, as was found later. Written by the jobs "roll up pings", "watch '
    'deadlines" and "count active copies", removed by the last.';

CREATE TABLE weeks_due (
    week date PRIMARY KEY CHECK (extract(isodow FROM week) = 1)
);
COMMENT ON TABLE weeks_due IS
    'A row is a week (its Monday) whose days changed since cohort_weeks was made of it. Written by the job '
    '"roll up days", removed by "roll up cohorts".';

-- ── access ─────────────────────────────────────────────────────────────────────────────────

CREATE TABLE people (
    person_id      uuid        PRIMARY KEY,
    email          text        NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    name           text        NOT NULL CHECK (length(name) <= 200),
    role           text        NOT NULL
        CHECK (role IN ('viewer', 'analyst', 'investigator', 'support', 'privacy_officer', 'admin')),
    product_ids    uuid[],
    password_hash  text,
    totp_salt      bytea,
    totp_since     timestamptz,
    totp_step      bigint,
    shortcuts      boolean     NOT NULL DEFAULT true,
    created_at     timestamptz NOT NULL,
    deactivated_at timestamptz,
    time_zone      text        NOT NULL DEFAULT 'UTC' CHECK (length(time_zone) BETWEEN 1 AND 64),
    number_style   text        NOT NULL DEFAULT 'en' CHECK (number_style IN ('en', 'de', 'fr', 'de-CH')),
    list_columns   text[]
);
CREATE UNIQUE INDEX people_email ON people (lower(email));
COMMENT ON TABLE people IS
    'A row is a person with an account. Written by an accepted invitation, the page "People", the person''s own page and '
    'the commands "user …". Kept for ever: deactivated_at ends all access.';
COMMENT ON COLUMN people.product_ids IS 'The products this person may see; NULL: all, also later ones.';
COMMENT ON COLUMN people.password_hash IS 'Argon2id in PHC format; NULL: no sign-in with a password.';
COMMENT ON COLUMN people.totp_salt IS
    'The secret of the authenticator app is derived from it by the keyring, which is stored outside the database.';
COMMENT ON COLUMN people.totp_since IS 'When the first code confirmed the app; NULL: no second factor.';
COMMENT ON COLUMN people.totp_step IS 'The time step of the last accepted code: each code works once.';
COMMENT ON COLUMN people.time_zone IS 'The zone of times on pages, by its IANA name. Days of counts are those of UTC.';
COMMENT ON COLUMN people.number_style IS 'How pages write numbers: 1,234.5 or 1.234,5 or 1 234,5 or 1’234.5.';
COMMENT ON COLUMN people.list_columns IS 'The columns of the list of installations that the person chose; NULL: the usual ones.';

CREATE TABLE recovery_codes (
    person_id uuid        NOT NULL REFERENCES people ON DELETE CASCADE,
    digest    bytea       NOT NULL CHECK (length(digest) = 32),
    used_at   timestamptz,
    PRIMARY KEY (person_id, digest)
);
COMMENT ON TABLE recovery_codes IS
    'A row is a code that replaces the second factor once, as SHA-256 of 120 random bits. Replaced as a set.';

CREATE TABLE invitations (
    digest      bytea       PRIMARY KEY CHECK (length(digest) = 32),
    email       text        NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    role        text        NOT NULL
        CHECK (role IN ('viewer', 'analyst', 'investigator', 'support', 'privacy_officer', 'admin')),
    product_ids uuid[],
    person_id   uuid        REFERENCES people ON DELETE CASCADE,
    invited_by  text        NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    inviter_id  uuid        REFERENCES people ON DELETE CASCADE
);
COMMENT ON TABLE invitations IS
    'A row is an open invitation, its link as SHA-256. Written by the page "People" and by "user invite"; removed when it is '
    'accepted or withdrawn, and by the job "forget sessions" a day after it ran out.';
COMMENT ON COLUMN invitations.person_id IS 'The person who may set a new password; NULL: the link makes a new account.';
COMMENT ON COLUMN invitations.inviter_id IS
    'The person who made it, and has to be allowed to when it is accepted; NULL: a command or a one-time link.';

CREATE TABLE sign_in_attempts (
    bucket  bytea       PRIMARY KEY CHECK (length(bucket) = 32),
    free_at timestamptz NOT NULL
);
COMMENT ON TABLE sign_in_attempts IS
    'A row is a rate limit of failed sign-ins, by the digest of its account or network; free_at as in GCRA. Removed by the '
    'job "forget sessions".';

CREATE TABLE tokens (
    token_id     uuid        PRIMARY KEY,
    digest       bytea       NOT NULL CONSTRAINT tokens_digest_is_unique UNIQUE CHECK (length(digest) = 32),
    role         text        NOT NULL
        CHECK (role IN ('viewer', 'analyst', 'investigator', 'support', 'privacy_officer', 'admin')),
    label        text        NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_on date,
    revoked_at   timestamptz,
    person_id    uuid        REFERENCES people ON DELETE CASCADE,
    scopes       text[],
    product_ids  uuid[],
    networks     cidr[]
);
COMMENT ON TABLE tokens IS
    'A row is an API token, as SHA-256; the token itself is shown once. Written by the pages "Service tokens" and "My account" '
    'and by "token create" and "token revoke". Kept for ever.';
COMMENT ON COLUMN tokens.person_id IS 'The person whose token this is, never with more rights than that person; NULL: a service.';
COMMENT ON COLUMN tokens.scopes IS 'The permissions of this token; NULL: all of its role.';
COMMENT ON COLUMN tokens.product_ids IS 'The products this token may see; NULL: all, also later ones.';
COMMENT ON COLUMN tokens.networks IS 'The networks it works from; NULL: from any.';

CREATE TABLE sign_in_links (
    digest     bytea       PRIMARY KEY CHECK (length(digest) = 32),
    role       text        NOT NULL
        CHECK (role IN ('viewer', 'analyst', 'investigator', 'support', 'privacy_officer', 'admin')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
COMMENT ON TABLE sign_in_links IS
    'A row is a one-time sign-in link, as SHA-256. Written by "serve" and "sign-in". Removed by the job '
    '"forget sessions" a day after it ran out.';

CREATE TABLE sessions (
    digest       bytea       PRIMARY KEY CHECK (length(digest) = 32),
    role         text        NOT NULL
        CHECK (role IN ('viewer', 'analyst', 'investigator', 'support', 'privacy_officer', 'admin')),
    created_at   timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    person_id    uuid        REFERENCES people ON DELETE CASCADE,
    authenticated_at timestamptz NOT NULL,
    methods      text[]      NOT NULL DEFAULT '{link}',
    device       text        NOT NULL DEFAULT '',
    network      cidr,
    awaits_code  boolean     NOT NULL DEFAULT false
);
CREATE INDEX sessions_of_person ON sessions (person_id);
COMMENT ON TABLE sessions IS
    'A row is a signed-in browser, its cookie as SHA-256. Written by sign-in and sign-out. Removed by the '
    'job "forget sessions".';
COMMENT ON COLUMN sessions.role IS 'Of a one-time link; the role of a person is that of people.';
COMMENT ON COLUMN sessions.person_id IS 'NULL: signed in by a one-time link.';
COMMENT ON COLUMN sessions.authenticated_at IS 'When the browser last gave its credentials; some pages need a recent time.';
COMMENT ON COLUMN sessions.methods IS 'How: link, password, totp, recovery_code, proxy, passkey, oidc:PROVIDER, mfa (of the provider).';
COMMENT ON COLUMN sessions.awaits_code IS
    'The first factor was right, and the second one is awaited: not signed in yet.';

CREATE TABLE sign_in_flows (
    digest     bytea       PRIMARY KEY CHECK (length(digest) = 32),
    browser    bytea       NOT NULL CHECK (length(browser) = 32),
    purpose    text        NOT NULL
        CHECK (purpose IN ('sign_in', 'again', 'link', 'try', 'passkey', 'new_passkey')),
    provider   text,
    session    bytea       CHECK (length(session) = 32),
    onward     text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE sign_in_flows IS
    'A row is a sign-in that goes by way of a provider or an authenticator: its state or challenge as SHA-256, and the '
    'browser that began it, by SHA-256 of a cookie. Removed by the answer, or by the job "forget sessions".';
COMMENT ON COLUMN sign_in_flows.session IS 'The session that began it; NULL: signed out.';

CREATE TABLE person_identities (
    issuer       text        NOT NULL CHECK (length(issuer) BETWEEN 1 AND 2048),
    subject      text        NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    person_id    uuid        NOT NULL REFERENCES people ON DELETE CASCADE,
    email        text        NOT NULL CHECK (length(email) <= 254),
    linked_at    timestamptz NOT NULL,
    last_used_at timestamptz,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_of_person ON person_identities (person_id);
COMMENT ON TABLE person_identities IS
    'A row is an account at an OpenID provider with which a person signs in. Written by the first sign-in of a new person, '
    'and by the pages "My account" and "Sign-in".';
COMMENT ON COLUMN person_identities.email IS 'As the provider named it, to recognize the account; it signs no one in.';

CREATE TABLE passkeys (
    credential_id bytea       PRIMARY KEY CHECK (length(credential_id) BETWEEN 1 AND 1023),
    person_id     uuid        NOT NULL REFERENCES people ON DELETE CASCADE,
    public_key    bytea       NOT NULL,
    sign_count    bigint      NOT NULL CHECK (sign_count >= 0),
    name          text        NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    backed_up     boolean     NOT NULL,
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz
);
CREATE INDEX passkeys_of_person ON passkeys (person_id);
COMMENT ON TABLE passkeys IS
    'A row is a passkey of a person, with its public key. Written by the page "My account". Removed there and by an '
    'administrator.';
COMMENT ON COLUMN passkeys.sign_count IS 'Of the last sign-in; an authenticator that counts must count on.';
COMMENT ON COLUMN passkeys.backed_up IS 'Whether it is synchronized to other devices.';

-- ── views, links and notes of people ───────────────────────────────────────────────────────

CREATE TABLE saved_views (
    view_id    uuid        PRIMARY KEY,
    name       text        NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    address    text        NOT NULL CHECK (address ~ '^/' AND length(address) <= 2000),
    shared     boolean     NOT NULL,
    person_id  uuid        REFERENCES people ON DELETE CASCADE,
    created_by text        NOT NULL CHECK (length(created_by) BETWEEN 1 AND 300),
    created_at timestamptz NOT NULL,
    CONSTRAINT saved_views_are_shared_or_of_a_person CHECK (shared OR person_id IS NOT NULL)
);
CREATE INDEX saved_views_of_person ON saved_views (person_id);
COMMENT ON TABLE saved_views IS
    'A row is a page with its query under a name, in the rail of its person, or with shared of everyone who may see that '
    'page. Written by the page "Saved views". Kept until it is deleted.';
COMMENT ON COLUMN saved_views.person_id IS 'NULL: saved from a one-time link of the command line.';

CREATE TABLE share_links (
    link_id      uuid        PRIMARY KEY,
    digest       bytea       NOT NULL CONSTRAINT share_links_digest_is_unique UNIQUE CHECK (length(digest) = 32),
    label        text        NOT NULL CHECK (length(label) BETWEEN 1 AND 180),
    person_id    uuid        REFERENCES people ON DELETE CASCADE,
    product_ids  uuid[],
    created_by   text        NOT NULL CHECK (length(created_by) BETWEEN 1 AND 300),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    last_used_on date,
    CONSTRAINT share_links_expire CHECK (expires_at > created_at)
);
COMMENT ON TABLE share_links IS
    'A row is a link that shows numbers without an account, as SHA-256 of its secret. Written by the page "Share links". Kept '
    'for ever; it ends at expires_at or revoked_at, and with the rights of its person.';
COMMENT ON COLUMN share_links.person_id IS 'NULL: made from a one-time link of the command line.';
COMMENT ON COLUMN share_links.product_ids IS 'The products it shows, never more than its person may see; NULL: all of these.';

CREATE TABLE chart_notes (
    note_id    uuid        PRIMARY KEY,
    day        date        NOT NULL,
    product_id uuid        REFERENCES products ON DELETE CASCADE,
    note       text        NOT NULL CHECK (length(note) BETWEEN 1 AND 200),
    author     text        NOT NULL CHECK (length(author) BETWEEN 1 AND 300),
    written_at timestamptz NOT NULL
);
CREATE INDEX chart_notes_by_day ON chart_notes (day);
COMMENT ON TABLE chart_notes IS
    'A row is a note at a day of the charts. Written by the overview. Kept until it is deleted.';
COMMENT ON COLUMN chart_notes.product_id IS 'NULL: about all products.';

-- ── the audit log: docs/audit.md ───────────────────────────────────────────────────────────

CREATE TABLE audit_entries (
    entry_id     uuid        PRIMARY KEY,
    salt         bytea       NOT NULL CHECK (length(salt) = 32),
    recorded_at  timestamptz NOT NULL,
    actor        text        NOT NULL CHECK (length(actor) BETWEEN 1 AND 300),
    action       text        NOT NULL CHECK (action ~ '^[a-z_]+(\.[a-z_]+)+$'),
    subject_kind text        CHECK (length(subject_kind) BETWEEN 1 AND 64),
    subject_id   text        CHECK (length(subject_id) BETWEEN 1 AND 300),
    product      text        CHECK (length(product) BETWEEN 1 AND 64),
    network      text        CHECK (length(network) BETWEEN 1 AND 64),
    reason       text        CHECK (length(reason) BETWEEN 1 AND 2000),
    details      json        NOT NULL CHECK (json_typeof(details) = 'object')
);
COMMENT ON TABLE audit_entries IS
    'A row is what a person, a program or a job saw or changed. The commands, the pages and the API write it in '
    'the transaction of a change, and before an answer with personal data leaves. Never changed; deleted by the '
    'job "forget audit entries", and where an entry is erased: the leaf stays.';
COMMENT ON COLUMN audit_entries.details IS
    'Of type json, not jsonb: the commitment of the leaf covers the text as it was written.';
CREATE INDEX audit_entries_by_time ON audit_entries (recorded_at, entry_id);
CREATE INDEX audit_entries_by_subject ON audit_entries (subject_id, recorded_at, entry_id);
CREATE INDEX audit_erasures ON audit_entries (entry_id) WHERE action = 'audit.erase';

CREATE TABLE audit_waiting (
    entry_id uuid PRIMARY KEY
);
COMMENT ON TABLE audit_waiting IS
    'A row is an entry without a leaf yet. Written with the entry; the server removes it within about a second.';

CREATE TABLE audit_leaves (
    leaf       bigint PRIMARY KEY CHECK (leaf >= 0),
    entry_id   uuid   NOT NULL CONSTRAINT audit_leaves_entry_is_unique UNIQUE,
    commitment bytea  NOT NULL CHECK (length(commitment) = 32)
);
COMMENT ON TABLE audit_leaves IS
    'A row is a leaf of the Merkle tree over the audit log, numbered from 0 without a gap: SHA-256 over the salt '
    'and the content of an entry, and the leaf''s number. Written by the server within about a second of the entry. '
    'Kept for ever: without the salt it reveals nothing.';

CREATE TABLE audit_nodes (
    level    smallint NOT NULL CHECK (level >= 8),
    position bigint   NOT NULL CHECK (position >= 0),
    hash     bytea    NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, position)
);
COMMENT ON TABLE audit_nodes IS
    'A row is the hash of a complete subtree of 2^level leaves, the first of them position * 2^level; smaller ones are '
    'calculated from the leaves. Written with the last of its leaves. Kept for ever.';

CREATE TABLE audit_checkpoints (
    size      bigint      PRIMARY KEY CHECK (size > 0),
    signed_at timestamptz NOT NULL,
    note      text        NOT NULL
);
COMMENT ON TABLE audit_checkpoints IS
    'A row is a checkpoint: the signed root of the tree of size leaves, as a signed note of c2sp.org. Written by the '
    'job "write audit checkpoint", outside the database, too. Kept for ever.';

CREATE TABLE witnessed_checkpoints (
    origin      text        NOT NULL CHECK (length(origin) BETWEEN 1 AND 300),
    size        bigint      NOT NULL CHECK (size > 0),
    root        bytea       NOT NULL CHECK (length(root) = 32),
    note        text        NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (origin, size, root)
);
COMMENT ON TABLE witnessed_checkpoints IS
    'A row is a checkpoint of another server''s audit log, which this one keeps as its witness, with the cosignature. '
    'Written by the API, only if it contains the one before it, or that log was restored from a backup. Kept for ever.';

CREATE FUNCTION refuse_audit_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The audit log is append-only: no % of %.', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END;
$$;
COMMENT ON FUNCTION refuse_audit_change IS 'Keeps the tables of the audit log append-only.';

CREATE FUNCTION refuse_unrecorded_erasure() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM erased AS e LEFT JOIN audit_leaves AS l USING (entry_id)
        WHERE e.action = 'audit.erase' OR l.leaf IS NULL OR NOT l.leaf <@ (
            SELECT coalesce(range_agg((r.details ->> 'leaves')::int8multirange), '{}')
            FROM audit_entries AS r WHERE r.action = 'audit.erase'
        )
    ) THEN
        RAISE EXCEPTION 'An entry of the audit log is erased only after the log says so.'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION refuse_unrecorded_erasure IS
    'Refuses to delete entries whose leaf is not in the details of an entry "audit.erase", and such entries.';

CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER erased_as_recorded AFTER DELETE ON audit_entries REFERENCING OLD TABLE AS erased
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_unrecorded_erasure();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_leaves
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_nodes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON witnessed_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- ── privacy: docs/privacy.md ────────────────────────────────────────────────────────────────

CREATE TABLE notices (
    version    text        NOT NULL CHECK (version ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    language   text        NOT NULL CHECK (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$'),
    text       text        NOT NULL CHECK (length(text) BETWEEN 1 AND 200000),
    sha256     bytea       NOT NULL CHECK (length(sha256) = 32),
    valid_from timestamptz NOT NULL,
    added_at   timestamptz NOT NULL,
    added_by   text        NOT NULL CHECK (length(added_by) BETWEEN 1 AND 300),
    PRIMARY KEY (version, language)
);
COMMENT ON TABLE notices IS
    'A row is a version of the privacy notice in one language. Written by the page "Privacy" and by "privacy notice add". '
    'Never changed, and kept for ever: pings name the version under which they were collected.';
COMMENT ON COLUMN notices.sha256 IS 'Of the text in UTF-8.';
COMMENT ON COLUMN notices.valid_from IS
    'The same for all languages of a version. The version with the latest one that is not in the future is in force.';

CREATE FUNCTION refuse_notice_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'A version of the notice is never changed or removed: add another version.'
        USING ERRCODE = 'insufficient_privilege';
END;
$$;
COMMENT ON FUNCTION refuse_notice_change IS 'Keeps the versions of the notice as they were.';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON notices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_notice_change();

CREATE TABLE installation_levels (
    installation_id uuid        PRIMARY KEY,
    level           text        NOT NULL CHECK (level IN ('license', 'system')),
    set_at          timestamptz NOT NULL,
    reduced_at      timestamptz
);
COMMENT ON TABLE installation_levels IS
    'A row is the most that may be kept of an installation, whatever it sends. Written by the page "Privacy" and by '
    '"privacy level", which also remove it. Kept as its installation.';
COMMENT ON COLUMN installation_levels.reduced_at IS
    'When the job "keep to levels" removed what was kept above it before. NULL: it waits.';

CREATE TABLE customer_levels (
    customer_id uuid        PRIMARY KEY REFERENCES customers ON DELETE CASCADE,
    level       text        NOT NULL CHECK (level IN ('license', 'system')),
    set_at      timestamptz NOT NULL,
    reduced_at  timestamptz
);
COMMENT ON TABLE customer_levels IS
    'A row is the most that may be kept of the installations with a license of a customer. Written and removed as '
    'installation_levels.';

CREATE TABLE erasures (
    erasure_id    uuid        PRIMARY KEY,
    asked_at      timestamptz NOT NULL,
    asked_by      text        NOT NULL CHECK (length(asked_by) BETWEEN 1 AND 300),
    reason        text        CHECK (length(reason) BETWEEN 1 AND 1000),
    subject_kind  text        NOT NULL CHECK (subject_kind IN ('installation', 'customer')),
    subject       text        NOT NULL CHECK (length(subject) BETWEEN 1 AND 64),
    installations bigint      NOT NULL CHECK (installations >= 0),
    done_at       timestamptz,
    backups_until date,
    certificate   text,
    erased_rows   jsonb       NOT NULL DEFAULT '{}',
    held          boolean     NOT NULL DEFAULT false
);
CREATE INDEX erasures_waiting ON erasures (asked_at) WHERE done_at IS NULL;
COMMENT ON TABLE erasures IS
    'A row is an erasure that was asked for by an installation, or by a person with "privacy erase" or the page "Privacy". '
    'Carried out at once, or by the job "carry out erasures". Kept for ever: it proves the erasure.';
COMMENT ON COLUMN erasures.subject IS
    'The id of the installation; of a customer the id too: a random number that refers to nothing any more.';
COMMENT ON COLUMN erasures.backups_until IS 'The day until which a backup may still have the data.';
COMMENT ON COLUMN erasures.certificate IS 'The certificate, signed with the key of the audit log.';
COMMENT ON COLUMN erasures.erased_rows IS 'The number of deleted rows by table.';
COMMENT ON COLUMN erasures.held IS 'Whether a legal hold still keeps rows: they are deleted, and it is certified again, once it is over.';

CREATE TABLE erased_installations (
    installation_id uuid        PRIMARY KEY,
    erasure_id      uuid        NOT NULL,
    asked_at        timestamptz NOT NULL,
    done_at         timestamptz
);
CREATE INDEX erased_installations_of ON erased_installations (erasure_id);
COMMENT ON TABLE erased_installations IS
    'A row is an installation that is erased: an upload that comes late is answered with 410 and not stored. Written '
    'before the data is deleted. Kept for ever: a copy may come back after years.';

CREATE TABLE erased_counts (
    product_id    uuid    NOT NULL,
    roll_up       text    NOT NULL CHECK (roll_up IN ('fleet', 'features', 'active', 'feature_values', 'cohorts')),
    day           date    NOT NULL,
    dimension     text    NOT NULL,
    value         text    NOT NULL,
    verdict       text    NOT NULL,
    feature       text    NOT NULL,
    installations bigint  NOT NULL CHECK (installations > 0),
    amount        numeric NOT NULL,
    PRIMARY KEY (product_id, roll_up, day, dimension, value, verdict, feature)
);
COMMENT ON TABLE erased_counts IS
    'A row is how many erased installations are counted in a cell of a roll-up: a day that is counted again keeps its '
    'numbers. It names no installation. Written with each erasure. Kept for ever, as the roll-ups are.';
COMMENT ON COLUMN erased_counts.roll_up IS
    'fleet: fleet_days. features: feature_days. active: active_days. feature_values: feature_value_days. cohorts: '
    'cohort_weeks, of which day is the week, value the cohort, and dimension active, lost or returned.';
COMMENT ON COLUMN erased_counts.amount IS 'Their pings, or their uses of the feature.';

CREATE TABLE subject_requests (
    request_id   uuid        PRIMARY KEY,
    kind         text        NOT NULL CHECK (kind IN ('access', 'rectification', 'erasure', 'restriction', 'objection', 'portability')),
    subject_kind text        NOT NULL CHECK (subject_kind IN ('installation', 'customer')),
    subject      uuid        NOT NULL,
    purpose      text        CHECK (length(purpose) BETWEEN 1 AND 64),
    received_on  date        NOT NULL,
    filed_at     timestamptz NOT NULL,
    filed_by     text        NOT NULL CHECK (length(filed_by) BETWEEN 1 AND 300),
    due_on       date        NOT NULL,
    extended     boolean     NOT NULL DEFAULT false,
    owner        text        CHECK (length(owner) BETWEEN 1 AND 300),
    state        text        NOT NULL CHECK (state IN ('open', 'waiting', 'answered', 'refused')),
    closed_at    timestamptz,
    CHECK ((closed_at IS NULL) = (state IN ('open', 'waiting')))
);
CREATE INDEX subject_requests_unanswered ON subject_requests (due_on) WHERE closed_at IS NULL;
CREATE INDEX subject_requests_of ON subject_requests (subject);
COMMENT ON TABLE subject_requests IS
    'A row is a request of a data subject. Written by "privacy request", the page "Requests", and by what installations and '
    'customers ask for themselves. Removed three years after it was closed.';
COMMENT ON COLUMN subject_requests.subject IS 'The id of the installation or the customer, also after its erasure: a random number then.';
COMMENT ON COLUMN subject_requests.purpose IS 'Of an objection: the purpose of the field registry that it is against.';
COMMENT ON COLUMN subject_requests.due_on IS 'A calendar month after it was received; three, once it was extended.';
COMMENT ON COLUMN subject_requests.state IS 'waiting: for the person, such as for a proof of identity.';

CREATE TABLE subject_request_steps (
    request_id uuid        NOT NULL REFERENCES subject_requests ON DELETE CASCADE,
    step_id    uuid        NOT NULL,
    at         timestamptz NOT NULL,
    by         text        NOT NULL CHECK (length(by) BETWEEN 1 AND 300),
    step       text        NOT NULL CHECK (step IN ('filed', 'owner', 'extended', 'open', 'waiting', 'answered', 'refused', 'done')),
    note       text        CHECK (length(note) BETWEEN 1 AND 1000),
    details    jsonb       NOT NULL DEFAULT '{}',
    PRIMARY KEY (request_id, step_id)
);
COMMENT ON TABLE subject_request_steps IS
    'A row is a step in the history of a request. Kept as its request; notes and details go when the subject is erased.';
COMMENT ON COLUMN subject_request_steps.note IS 'The reason of an extension, the ground of a refusal, or a remark.';
COMMENT ON COLUMN subject_request_steps.details IS 'What was done: the fields before and after a correction, the level of an objection, the rows of an access.';

CREATE TABLE holds (
    hold_id        uuid        PRIMARY KEY,
    subject_kind   text        NOT NULL CHECK (subject_kind IN ('installation', 'customer')),
    subject        uuid        NOT NULL,
    tables         text[]      NOT NULL CHECK (cardinality(tables) > 0),
    fields         text[]      CHECK (cardinality(fields) > 0),
    since          timestamptz,
    until          timestamptz,
    case_reference text        CHECK (length(case_reference) BETWEEN 1 AND 200),
    ground         text        NOT NULL CHECK (length(ground) BETWEEN 1 AND 1000),
    expires_on     date        NOT NULL,
    proposed_at    timestamptz NOT NULL,
    proposed_by    text        NOT NULL CHECK (length(proposed_by) BETWEEN 1 AND 300),
    confirmed_at   timestamptz,
    confirmed_by   text        CHECK (lower(confirmed_by) <> lower(proposed_by)),
    released_at    timestamptz,
    released_by    text        CHECK (length(released_by) BETWEEN 1 AND 300),
    release_reason text        CHECK (length(release_reason) BETWEEN 1 AND 1000),
    emptied_at     timestamptz
);
COMMENT ON TABLE holds IS
    'A row is a legal hold on rows about a subject: proposed by one person, in force once another one confirmed it. Written by '
    '"privacy hold" and the page "Holds". Kept for ever, as the erasures are.';
COMMENT ON COLUMN holds.tables IS 'The tables of the export of a subject whose rows are kept.';
COMMENT ON COLUMN holds.fields IS 'The columns of these rows that are kept; NULL: all.';
COMMENT ON COLUMN holds.since IS 'Of rows with a time, only those from then on; with until, before that.';
COMMENT ON COLUMN holds.expires_on IS 'The last day on which it is in force.';
COMMENT ON COLUMN holds.emptied_at IS 'When the rows that it kept were deleted, after it had expired or was released.';

CREATE TABLE held_rows (
    hold_id    uuid        NOT NULL REFERENCES holds ON DELETE CASCADE,
    table_name text        NOT NULL,
    row_key    text        NOT NULL,
    kept_at    timestamptz NOT NULL,
    held       jsonb       NOT NULL,
    PRIMARY KEY (hold_id, table_name, row_key)
);
COMMENT ON TABLE held_rows IS
    'A row is a copy of a row that a hold names, made before the row itself is changed or deleted. Written by the jobs that delete '
    'data. Deleted once the hold has expired or was released. Personal data.';

CREATE TABLE restrictions (
    restriction_id uuid        PRIMARY KEY,
    subject_kind   text        NOT NULL CHECK (subject_kind IN ('installation', 'customer')),
    subject        uuid        NOT NULL,
    begun_at       timestamptz NOT NULL,
    begun_by       text        NOT NULL CHECK (length(begun_by) BETWEEN 1 AND 300),
    reason         text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    hides          text[]      NOT NULL DEFAULT '{}',
    ended_at       timestamptz,
    ended_by       text        CHECK (length(ended_by) BETWEEN 1 AND 300),
    end_reason     text        CHECK (length(end_reason) BETWEEN 1 AND 1000)
);
CREATE UNIQUE INDEX restrictions_in_force ON restrictions (subject) WHERE ended_at IS NULL;
COMMENT ON TABLE restrictions IS
    'A row is a restriction: until it ends, people without the permission "privacy" see nothing of the subject. Written by '
    '"privacy restrict" and the page "Holds and restrictions". Kept for ever.';
COMMENT ON COLUMN restrictions.hides IS 'The ids and the e-mail that name the subject, in lower case: texts with one of them are hidden.';

CREATE TABLE restricted_installations (
    installation_id uuid        PRIMARY KEY,
    since           timestamptz NOT NULL
);
COMMENT ON TABLE restricted_installations IS
    'A row is an installation that is restricted itself, or by its customer. Written with a restriction, and by the job "carry out '
    'erasures" for installations that came later.';

CREATE TABLE disclosures (
    disclosure_id uuid        PRIMARY KEY,
    disclosed_at  timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL,
    recorded_by   text        NOT NULL CHECK (length(recorded_by) BETWEEN 1 AND 300),
    recipient     text        NOT NULL CHECK (length(recipient) BETWEEN 1 AND 300),
    subject_kind  text        CHECK (subject_kind IN ('installation', 'customer')),
    subject       uuid,
    subjects      text        NOT NULL CHECK (length(subjects) BETWEEN 1 AND 1000),
    fields        text        NOT NULL CHECK (length(fields) BETWEEN 1 AND 1000),
    ground        text        NOT NULL CHECK (length(ground) BETWEEN 1 AND 1000),
    duty          text        NOT NULL CHECK (length(duty) BETWEEN 1 AND 1000),
    token_id      uuid,
    CHECK ((subject IS NULL) = (subject_kind IS NULL))
);
CREATE INDEX disclosures_by_time ON disclosures (disclosed_at);
COMMENT ON TABLE disclosures IS
    'A row is a disclosure of personal data to someone else. Written by "privacy disclosures add", the page "Disclosures", each use '
    'of a token with a purpose, and by data that is handed over to another controller. Never changed, and kept for ever.';
COMMENT ON COLUMN disclosures.subjects IS 'Whose data it is, in words: one subject, a filter, or a path and its query.';
COMMENT ON COLUMN disclosures.fields IS 'Which data it is, in words.';
COMMENT ON COLUMN disclosures.duty IS 'What the recipient has promised, such as the purpose it is bound to.';
COMMENT ON COLUMN disclosures.token_id IS 'The API token that was used.';

CREATE TABLE token_purposes (
    token_id  uuid PRIMARY KEY REFERENCES tokens ON DELETE CASCADE,
    recipient text NOT NULL CHECK (length(recipient) BETWEEN 1 AND 300),
    purpose   text NOT NULL CHECK (length(purpose) BETWEEN 1 AND 1000),
    ground    text NOT NULL CHECK (length(ground) BETWEEN 1 AND 1000)
);
COMMENT ON TABLE token_purposes IS
    'A row binds the API token of an affiliate to a purpose: each of its uses is a row of disclosures. Written by "token create".';

CREATE TABLE public_figures (
    released_on date    NOT NULL,
    dimension   text    NOT NULL,
    value       text    NOT NULL,
    customers   integer NOT NULL CHECK (customers >= 20),
    drawn_on    date    NOT NULL,
    PRIMARY KEY (released_on, dimension, value)
);
COMMENT ON TABLE public_figures IS
    'A row is a number of customers, perturbed and rounded, as it was published in the week that begins on '
    'released_on. Written once a week by the job "release public figures"; never changed.';
COMMENT ON COLUMN public_figures.drawn_on IS
    'The week in which the number was drawn; until its next turn, it is repeated.';

CREATE TABLE access_links (
    digest      bytea       PRIMARY KEY CHECK (length(digest) = 32),
    customer_id uuid        NOT NULL REFERENCES customers ON DELETE CASCADE,
    created_at  timestamptz NOT NULL,
    created_by  text        NOT NULL CHECK (length(created_by) BETWEEN 1 AND 300),
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz,
    portable    boolean     NOT NULL DEFAULT false,
    recipient   text        CHECK (length(recipient) BETWEEN 1 AND 300)
);
CREATE INDEX access_links_of ON access_links (customer_id);
COMMENT ON TABLE access_links IS
    'A row is a link with which a customer fetches the data about them once, as SHA-256. Written by "privacy link" and the '
    'page "Privacy". Removed with the customer, and by the job "carry out erasures" a month after it ran out.';
COMMENT ON COLUMN access_links.portable IS 'Whether it gives one JSON file, for the right to data portability.';
COMMENT ON COLUMN access_links.recipient IS 'The other controller that the customer wants the data to go to; NULL: the customer.';

-- ── support access: docs/support.md ────────────────────────────────────────────────────────

CREATE TABLE support_cases (
    case_id     text        PRIMARY KEY CHECK (case_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    title       text        NOT NULL CHECK (length(title) <= 300),
    two_persons boolean     NOT NULL,
    begun_at    timestamptz NOT NULL,
    begun_by    text        NOT NULL CHECK (length(begun_by) BETWEEN 1 AND 300),
    closed_at   timestamptz,
    closed_by   text        CHECK (length(closed_by) BETWEEN 1 AND 300)
);
COMMENT ON TABLE support_cases IS
    'A row is a case of the support team. Grants are opened only while their case is open; with two_persons, only after another person approved it.';

CREATE TABLE support_grants (
    installation_id uuid        NOT NULL,
    grant_id        uuid        NOT NULL,
    product_id      uuid        NOT NULL,
    case_id         text        NOT NULL CHECK (case_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    key_id          text        NOT NULL CHECK (length(key_id) BETWEEN 1 AND 64),
    notice          text        NOT NULL CHECK (length(notice) <= 64),
    ssh             text        CHECK (ssh IN ('certificate', 'key', 'password')),
    received_at     timestamptz NOT NULL,
    not_after       timestamptz NOT NULL,
    revoked_at      timestamptz,
    sealed          bytea       CHECK (length(sealed) <= 65536),
    PRIMARY KEY (installation_id, grant_id)
);
CREATE INDEX support_grants_of_case ON support_grants (case_id, received_at);
COMMENT ON TABLE support_grants IS
    'A row is support access that a customer granted for a case, sealed on the customer''s side. Personal data.';
COMMENT ON COLUMN support_grants.ssh IS 'How the support team signs in: by a certificate, a key pair made for the grant, or a password; NULL: not by SSH.';
COMMENT ON COLUMN support_grants.sealed IS 'The sealed access; the key is not in the database. NULL once the grant is revoked or expired.';

CREATE TABLE support_approvals (
    approval_id uuid        PRIMARY KEY,
    case_id     text        NOT NULL REFERENCES support_cases ON DELETE CASCADE,
    asked_at    timestamptz NOT NULL,
    asked_by    text        NOT NULL CHECK (length(asked_by) BETWEEN 1 AND 300),
    reason      text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    approved_at timestamptz,
    approved_by text        CHECK (approved_by <> asked_by),
    used_at     timestamptz
);
CREATE INDEX support_approvals_of_case ON support_approvals (case_id, asked_at);
COMMENT ON TABLE support_approvals IS
    'A row asks a second person to approve one opening of a case; used_at is set by that opening.';

CREATE TABLE support_links (
    link_digest bytea       PRIMARY KEY CHECK (length(link_digest) = 32),
    case_id     text        NOT NULL REFERENCES support_cases ON DELETE CASCADE,
    product_id  uuid        NOT NULL,
    made_at     timestamptz NOT NULL,
    made_by     text        NOT NULL CHECK (length(made_by) BETWEEN 1 AND 300),
    expires_at  timestamptz NOT NULL
);
CREATE INDEX support_links_of_case ON support_links (case_id);
COMMENT ON TABLE support_links IS
    'A row is a link by which a customer grants access for a case in a browser. Deleted once it has expired. The link itself is not stored.';

-- ── investigations: docs/detection.md ─────────────────────────────────────────────────────────

CREATE TABLE findings (
    finding_id   uuid             PRIMARY KEY,
    product_id   uuid             NOT NULL REFERENCES products ON DELETE CASCADE,
    rule         text             NOT NULL CHECK (rule ~ '^[a-z][a-z0-9_]{0,62}$'),
    family       text             NOT NULL CHECK (family ~ '^[a-z]{1,32}$'),
    subject_kind text             NOT NULL CHECK (subject_kind IN ('installation', 'key', 'license', 'network')),
    subject_id   text             NOT NULL CHECK (length(subject_id) BETWEEN 1 AND 300),
    strength     double precision NOT NULL CHECK (strength BETWEEN 0 AND 1),
    first_seen   timestamptz      NOT NULL,
    last_seen    timestamptz      NOT NULL,
    evidence     jsonb            NOT NULL CHECK (jsonb_typeof(evidence) = 'object'),
    unscored     text             CHECK (unscored IN ('experimental', 'environment', 'allowed network')),
    opened_at    timestamptz      NOT NULL,
    closed_at    timestamptz,
    closed_why   text             CHECK (length(closed_why) BETWEEN 1 AND 300),
    CONSTRAINT findings_are_closed_for_a_reason CHECK ((closed_at IS NULL) = (closed_why IS NULL)),
    CONSTRAINT findings_begin_before_they_end CHECK (first_seen <= last_seen)
);
CREATE UNIQUE INDEX findings_open_is_unique ON findings (product_id, rule, subject_id) WHERE closed_at IS NULL;
CREATE INDEX findings_of_subject ON findings (subject_id, opened_at);
COMMENT ON TABLE findings IS
    'A row is what a rule of the investigations saw of a subject, from opened_at to closed_at. A lead, no accusation. Written '
    'by the job "find suspicions", which closes it when its facts are gone; if they come back, that is another row. Kept for '
    'ever; one of an erased installation is deleted by the same job.';
COMMENT ON COLUMN findings.subject_id IS
    'The id of the installation or the license; the hash of the key in hex; the network.';
COMMENT ON COLUMN findings.evidence IS
    'installations: the ids of those it rests on, 500 at most; parameters: what the rule was bound to; and the facts of the rule.';
COMMENT ON COLUMN findings.unscored IS 'Why it counts for nothing in the score of its case; NULL: it counts.';

CREATE TABLE cases (
    case_id         uuid        PRIMARY KEY,
    product_id      uuid        NOT NULL REFERENCES products ON DELETE CASCADE,
    subject_kind    text        NOT NULL
        CHECK (subject_kind IN ('customer', 'license', 'key', 'organisation', 'network', 'installation')),
    subject_id      text        NOT NULL CHECK (length(subject_id) BETWEEN 1 AND 300),
    name            text        NOT NULL CHECK (length(name) BETWEEN 1 AND 300),
    state           text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'waiting', 'decided', 'reopened')),
    wait_until      timestamptz,
    owner           text        CHECK (length(owner) BETWEEN 1 AND 300),
    decision        text        CHECK (length(decision) BETWEEN 1 AND 64),
    decision_reason text        CHECK (length(decision_reason) BETWEEN 1 AND 2000),
    score           double precision NOT NULL CHECK (score BETWEEN 0 AND 1),
    waterfall       jsonb       NOT NULL CHECK (jsonb_typeof(waterfall) = 'object'),
    first_seen      timestamptz NOT NULL,
    last_seen       timestamptz NOT NULL,
    opened_at       timestamptz NOT NULL,
    merged_into     uuid        REFERENCES cases ON DELETE CASCADE CHECK (merged_into <> case_id)
);
CREATE UNIQUE INDEX cases_subject_is_unique ON cases (product_id, subject_kind, subject_id);
CREATE INDEX cases_by_score ON cases (product_id, score DESC, case_id);
COMMENT ON TABLE cases IS
    'A row is the findings about one customer, license, key, organisation, network or installation, which people work on. '
    'Written by the job "find suspicions" (score, waterfall, first_seen, last_seen), and by people. Kept for ever.';
COMMENT ON COLUMN cases.score IS
    'The share of misuse among simulated cases with the same evidence, from 0 to 1; 0 where all findings are closed.';
COMMENT ON COLUMN cases.waterfall IS
    'How the score came about: prior and steps of evidence, each in log2, and their sum.';
COMMENT ON COLUMN cases.merged_into IS 'The case that has its findings now; NULL: its own.';

CREATE TABLE case_findings (
    case_id    uuid        NOT NULL REFERENCES cases ON DELETE CASCADE,
    finding_id uuid        NOT NULL REFERENCES findings ON DELETE CASCADE,
    added_at   timestamptz NOT NULL,
    removed_at timestamptz,
    PRIMARY KEY (case_id, finding_id, added_at)
);
CREATE INDEX case_findings_of ON case_findings (finding_id);
COMMENT ON TABLE case_findings IS
    'A row is a finding in a case, from added_at to removed_at; NULL: still. Written by the job "find suspicions", and where '
    'people merge and split cases. Kept as the case.';

CREATE TABLE case_history (
    history_id uuid        PRIMARY KEY,
    case_id    uuid        NOT NULL REFERENCES cases ON DELETE CASCADE,
    at         timestamptz NOT NULL,
    by         text        NOT NULL CHECK (length(by) BETWEEN 1 AND 300),
    what       jsonb       NOT NULL CHECK (jsonb_typeof(what) = 'object')
);
CREATE INDEX case_history_of ON case_history (case_id, at);
COMMENT ON TABLE case_history IS
    'A row is what happened to a case: opened, findings added and closed, and what people did. Written with each. Kept as the case.';
COMMENT ON COLUMN case_history.by IS 'A person, a program, or a job.';

CREATE TABLE case_rows (
    installation_id uuid        NOT NULL,
    case_id         uuid        NOT NULL,
    kind            text        NOT NULL CHECK (kind IN ('pings', 'forks', 'changes')),
    row_key         text        NOT NULL CHECK (length(row_key) BETWEEN 1 AND 300),
    happened_at     timestamptz NOT NULL,
    row             jsonb       NOT NULL CHECK (jsonb_typeof(row) = 'object'),
    PRIMARY KEY (installation_id, case_id, kind, row_key)
);
CREATE INDEX case_rows_of ON case_rows (case_id, kind);
COMMENT ON TABLE case_rows IS
    'A row is a copy of a ping, a forked ping or a change that a case rests on: what it was copied from is forgotten after '
    'months. Written where a person opens a case for work or exports it. Kept until its hold is released, or its '
    'installation is erased.';

CREATE TABLE case_holds (
    case_id     uuid        PRIMARY KEY REFERENCES cases ON DELETE CASCADE,
    ground      text        NOT NULL CHECK (length(ground) BETWEEN 1 AND 1000),
    held_at     timestamptz NOT NULL,
    held_by     text        NOT NULL CHECK (length(held_by) BETWEEN 1 AND 300),
    rows        bigint      NOT NULL CHECK (rows >= 0),
    copied_at   timestamptz NOT NULL,
    is_whole    boolean     NOT NULL,
    released_at timestamptz
);
COMMENT ON TABLE case_holds IS
    'A row is why the rows of a case are kept beyond their time: its ground, since when, and by whom. A released hold has no '
    'rows. Written by the page of the case and by "investigate export". Kept as the case.';
COMMENT ON COLUMN case_holds.is_whole IS 'False: there were more rows than a case may hold, and the oldest were left out.';

CREATE TABLE case_handovers (
    handover_id uuid        PRIMARY KEY,
    case_id     uuid        NOT NULL REFERENCES cases ON DELETE CASCADE,
    exported_at timestamptz NOT NULL,
    actor       text        NOT NULL CHECK (length(actor) BETWEEN 1 AND 300),
    purpose     text        NOT NULL CHECK (length(purpose) BETWEEN 1 AND 1000),
    redaction   text        NOT NULL CHECK (redaction IN ('nothing', 'addresses', 'people')),
    rows        bigint      NOT NULL CHECK (rows >= 0),
    sha256      bytea       NOT NULL CHECK (length(sha256) = 32),
    statement   text        NOT NULL CHECK (length(statement) BETWEEN 1 AND 10000)
);
CREATE INDEX case_handovers_of ON case_handovers (case_id, exported_at);
COMMENT ON TABLE case_handovers IS
    'A row is an export of the evidence of a case: by whom, for which purpose, and the signed statement on it. Written '
    'before it leaves. Kept as the case.';
COMMENT ON COLUMN case_handovers.sha256 IS 'Of its tagmanifest-sha256.txt, which stands for all its files.';

CREATE TABLE case_attachments (
    attachment_id uuid        PRIMARY KEY,
    case_id       uuid        NOT NULL REFERENCES cases ON DELETE CASCADE,
    added_at      timestamptz NOT NULL,
    added_by      text        NOT NULL CHECK (length(added_by) BETWEEN 1 AND 300),
    name          text        NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    content       bytea       NOT NULL CHECK (length(content) BETWEEN 1 AND 1048576)
);
CREATE INDEX case_attachments_of ON case_attachments (case_id, added_at);
COMMENT ON TABLE case_attachments IS
    'A row is a file that a person added to a case. Written by the page of the case. Kept as the case.';

CREATE TABLE case_pauses (
    pause_id uuid        PRIMARY KEY,
    case_id  uuid        NOT NULL REFERENCES cases ON DELETE CASCADE,
    kind     text        NOT NULL CHECK (kind IN ('exception', 'snooze', 'known_and_fine')),
    rule     text        CHECK (rule ~ '^[a-z][a-z0-9_]{0,62}$'),
    until    timestamptz NOT NULL,
    reason   text        CHECK (length(reason) BETWEEN 1 AND 2000),
    begun_at timestamptz NOT NULL,
    begun_by text        NOT NULL CHECK (length(begun_by) BETWEEN 1 AND 300),
    ended_at timestamptz,
    CONSTRAINT case_pauses_of_a_rule CHECK ((kind = 'exception') = (rule IS NOT NULL)),
    CONSTRAINT case_pauses_give_a_reason CHECK (kind = 'snooze' OR reason IS NOT NULL)
);
CREATE INDEX case_pauses_of ON case_pauses (case_id, until);
COMMENT ON TABLE case_pauses IS
    'A row takes a case out of the queue until a day: snooze: later; known_and_fine: its facts are known and in order; '
    'exception: one of its rules does not count here. Written by the page of the case. Kept as the case.';
COMMENT ON COLUMN case_pauses.ended_at IS 'When a person ended it before its day; NULL: it ends by itself.';

-- ── the software itself ────────────────────────────────────────────────────────────────────

CREATE TABLE jobs (
    name             text        PRIMARY KEY,
    last_started_at  timestamptz NOT NULL,
    last_finished_at timestamptz,
    last_error       text,
    as_of            timestamptz,
    found_at         timestamptz,
    finding          text
);
COMMENT ON TABLE jobs IS
    'A row is a job of the job table and how it last went. Written by the job runner under the job''s '
    'advisory lock. Kept for ever.';
COMMENT ON COLUMN jobs.as_of IS
    'The time by which the last good run of a job that forgets worked: a week beyond the run before at most.';
COMMENT ON COLUMN jobs.finding IS
    'What the job "take back future times" last took back, at found_at: times later than the clock.';

CREATE TABLE keyring_check (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    check_value bytea   NOT NULL CHECK (length(check_value) = 32)
);
COMMENT ON TABLE keyring_check IS
    'The one row tells the keyring that this database was made with from any other, and gives nothing of '
    'it away. Written by the first "serve". Kept for ever.';

CREATE TABLE master_keys (
    key           text        PRIMARY KEY,
    check_value   bytea       NOT NULL CHECK (length(check_value) = 32),
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    abandoned_at  timestamptz
);
COMMENT ON TABLE master_keys IS
    'A row is a master key of the keyring by its id; the check value tells it from any other and gives nothing of '
    'it away. abandoned_at: the operator goes on without it. Written by "serve" before the key is used, and by '
    '"keyring rotate" and "keyring abandon". Kept for ever, so that no id is used twice.';

CREATE TABLE schema_migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schema_migrations IS
    'A row is a migration that ran, with the SHA-256 of its file: a file that changed since is refused. '
    'Written by "telemetry-server migrate". Kept for ever.';

-- ── for people with psql, Grafana, Metabase: docs/reporting.md ─────────────────────────────
--
-- A stable interface. A view only gains columns, at its end; existing columns keep their names, types and meanings.
-- A column with another meaning needs a new view, such as v2_pings. The column simulated of each view says whether
-- its product is simulated. The roles of "db reader" can read these views and nothing else.

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
       f.license_status,
       nullif(f.license_source, 'unknown')      AS license_source,
       s.license_source_detail,
       s.license_key_hint,
       nullif(f.edition, 'unknown')             AS license_edition,
       nullif(f.version, 'unknown')             AS service_version,
       nullif(f.environment, 'unknown')         AS service_environment,
       s.os_type,
       nullif(f.os_name, 'unknown')             AS os_name,
       s.os_version,
       s.os_kernel,
       s.host_arch,
       CASE WHEN f.vm NOT IN ('none', 'unknown') THEN f.vm END AS virtualization_vm,
       CASE WHEN f.container NOT IN ('none', 'unknown') THEN f.container END AS virtualization_container,
       CASE WHEN f.cloud NOT IN ('none', 'unknown') THEN f.cloud END AS virtualization_cloud,
       s.runtime_name,
       s.runtime_version,
       s.privacy_level,
       s.privacy_notice_version,
       nullif(f.country, 'unknown')             AS country,
       nullif(f.asn, 'unknown')::bigint         AS asn,
       s.organisation,
       s.facts,
       s.place,
       f.verdict,
       f.claim_mismatch,
       f.source_mismatch,
       f.judged_at,
       f.license_id,
       f.life,
       f.life_since,
       f.hosting,
       p.simulated,
       s.region,
       s.city,
       s.place_source,
       s.place_built_on::date                   AS place_built_on,
       s.place_prefix_length::integer           AS place_prefix_length,
       s.hosting_source,
       h.hostname
FROM installations AS i
JOIN products AS p USING (product_id)
JOIN installation_facts AS f USING (installation_id)
LEFT JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
LEFT JOIN hostnames AS h ON h.address = i.client_address
CROSS JOIN LATERAL (
    SELECT CASE WHEN i.received @> range_merge(i.received)
                THEN upper(i.received) - lower(i.received)
                ELSE numbers_in(i.received) END AS came
) AS n;
COMMENT ON VIEW v_installations IS
    'Every installation in its present state, with the facts as columns. Places and hostnames are approximate.';

CREATE VIEW v_pings AS
SELECT g.received_at,
       g.installation_id,
       p.slug                                   AS product,
       g.sequence,
       g.ping_id,
       g.occurred_at,
       g.time_suspect,
       g.client_address,
       coalesce(reason_of(g.reason_code), g.details ->> 'reason') AS reason,
       s.license_status,
       s.license_source,
       s.license_source_detail,
       s.license_key_hint,
       s.license_edition,
       s.service_version,
       s.service_environment,
       s.os_type,
       s.os_name,
       s.os_version,
       s.os_kernel,
       s.host_arch,
       s.virtualization_vm,
       s.virtualization_container,
       s.virtualization_cloud,
       s.runtime_name,
       s.runtime_version,
       s.privacy_level,
       s.privacy_notice_version,
       s.country,
       s.asn::bigint                            AS asn,
       s.organisation,
       CASE WHEN g.counters IS NULL THEN g.features
            ELSE ('{' || array_to_string(ARRAY(
                     SELECT n.json_key || c.uses
                     FROM (SELECT c.number, c.uses FROM counted(g.counters) AS c OFFSET 0) AS c -- apart, for Citus
                     JOIN feature_names AS n USING (number)), ',') || '}')::jsonb || coalesce(g.features, '{}')
            END AS features,
       ping_details(g.reason_code, g.used_since, g.details) AS details,
       s.facts,
       s.place,
       coalesce(verdict_of(g.verdict_code), g.verdict) AS verdict,
       g.claim_mismatch,
       g.source_mismatch,
       s.region,
       s.city,
       s.place_source,
       s.place_built_on::date                   AS place_built_on,
       s.place_prefix_length::integer           AS place_prefix_length,
       s.hosting::boolean                       AS hosting,
       s.hosting_source,
       p.simulated
FROM pings AS g
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
LEFT JOIN states AS s ON s.installation_id = g.installation_id AND s.state = g.state; -- LEFT: states are not read if none of their columns is selected
COMMENT ON VIEW v_pings IS
    'Every ping that counts, with the facts of the state it was in as columns. Places are approximate.';

CREATE VIEW v_unknown_keys AS
SELECT p.slug                                   AS product,
       encode(f.license_key_hash, 'hex')        AS key_hash,
       max(s.license_key_hint)                  AS key_hint,
       count(*)                                 AS installations,
       min(i.first_received_at)                 AS first_received_at,
       max(i.last_received_at)                  AS last_received_at,
       p.simulated
FROM installation_facts AS f
JOIN installations AS i USING (installation_id)
JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
JOIN products AS p ON p.product_id = f.product_id
WHERE f.verdict = 'unknown_key' AND f.license_key_hash IS NOT NULL
GROUP BY p.slug, p.simulated, f.license_key_hash;
COMMENT ON VIEW v_unknown_keys IS
    'Every key that copies use today and no license has. A license that is imported later takes it out.';

COMMENT ON COLUMN v_installations.last_occurred_at IS 'When the newest ping was made, by the installation''s clock.';
COMMENT ON COLUMN v_installations.last_sequence IS 'The highest number of a ping that came.';
COMMENT ON COLUMN v_installations.pings IS 'Pings that came, each counted once.';
COMMENT ON COLUMN v_installations.missing IS 'Numbers below the highest that have not come yet.';
COMMENT ON COLUMN v_installations.lost IS 'Numbers that were given up.';
COMMENT ON COLUMN v_installations.license_status IS 'What the copy says of its license.';
COMMENT ON COLUMN v_installations.facts IS 'Everything the copy said of itself, by section and field as in fields.md.';
COMMENT ON COLUMN v_installations.place IS 'What is known of the place of its address.';
COMMENT ON COLUMN v_installations.verdict IS 'What the license registry says today.';
COMMENT ON COLUMN v_installations.life IS 'new, active, late, lost or returned, by the schedule of its product.';
COMMENT ON COLUMN v_installations.place_prefix_length IS 'How wide the network is that the place is known of.';
COMMENT ON COLUMN v_pings.occurred_at IS 'When it was made, by the installation''s clock.';
COMMENT ON COLUMN v_pings.time_suspect IS 'That clock was far off.';
COMMENT ON COLUMN v_pings.reason IS 'Why it was sent: start, heartbeat, license …';
COMMENT ON COLUMN v_pings.features IS 'How often each feature was used since the ping before.';
COMMENT ON COLUMN v_pings.details IS 'What does not stay the same from ping to ping.';
COMMENT ON COLUMN v_pings.facts IS 'Everything the copy said of itself, by section and field as in fields.md.';
COMMENT ON COLUMN v_pings.verdict IS 'What the license registry said when it came.';
COMMENT ON COLUMN v_unknown_keys.key_hash IS 'What stands for the key, as in the timeline under license.key.';

CREATE VIEW v_licenses AS
SELECT l.license_id,
       p.slug                                   AS product,
       p.simulated,
       l.key_hint,
       l.status,
       l.type,
       l.source,
       l.source_detail,
       l.order_reference,
       l.edition,
       l.seats,
       l.overage,
       l.seats_used,
       l.customer_id,
       l.domains,
       l.addresses,
       l.directories,
       l.free_environments,
       l.starts_at,
       l.expires_at,
       l.created_at,
       l.updated_at,
       l.addresses_enforced,
       (l.starts_at AT TIME ZONE p.time_zone)::date AS first_day,
       ((l.expires_at - interval '1 microsecond') AT TIME ZONE p.time_zone)::date AS last_day,
       l.over_since
FROM licenses AS l
JOIN products AS p USING (product_id);
COMMENT ON VIEW v_licenses IS 'Every license of the registry; of its customer the id, and no custom fields.';
COMMENT ON COLUMN v_licenses.key_hint IS 'The last characters of its key.';
COMMENT ON COLUMN v_licenses.seats IS 'How many installations may run on it; empty: any number.';
COMMENT ON COLUMN v_licenses.overage IS 'From what excess on more than that counts as over_seats.';
COMMENT ON COLUMN v_licenses.seats_used IS
    'Installations on it that are neither late nor lost, and not in a free environment.';
COMMENT ON COLUMN v_licenses.addresses IS
    'Networks its installations must report from, or should, see addresses_enforced; none: anywhere.';
COMMENT ON COLUMN v_licenses.expires_at IS 'When it ends: the first moment at which it is no longer good.';
COMMENT ON COLUMN v_licenses.addresses_enforced IS 'Whether another address than those is a wrong_place.';
COMMENT ON COLUMN v_licenses.first_day IS 'The day it starts, in its product''s time zone.';
COMMENT ON COLUMN v_licenses.last_day IS 'The last day on which it is good, in its product''s time zone.';
COMMENT ON COLUMN v_licenses.over_since IS
    'Since when seats_used has been above seats, allowed overage or not; empty: it is not, or not known yet.';

CREATE VIEW v_changes AS
SELECT c.installation_id,
       p.slug                                   AS product,
       p.simulated,
       c.changed_at,
       c.sequence,
       c.field,
       c.before,
       c.after
FROM changes AS c
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id);
COMMENT ON VIEW v_changes IS 'Every fact of an installation that changed, and when the server learned it.';
COMMENT ON COLUMN v_changes.sequence IS 'The ping that reported it; of a verdict or a life, the last before.';
COMMENT ON COLUMN v_changes.field IS 'As in fields.md, e.g. service.version; or verdict, or life.';

CREATE VIEW v_installation_days AS
SELECT d.day,
       d.installation_id,
       p.slug                                   AS product,
       p.simulated,
       d.verdict,
       d.claim_mismatch,
       d.source_mismatch,
       d.pings,
       CASE WHEN d.counters IS NULL THEN d.features
            ELSE ('{' || array_to_string(ARRAY(
                     SELECT n.json_key || c.uses
                     FROM (SELECT c.number, c.uses FROM counted(d.counters) AS c OFFSET 0) AS c -- apart, for Citus
                     JOIN feature_names AS n USING (number)), ',') || '}')::jsonb || coalesce(d.features, '{}')
            END AS features,
       s.license_status,
       s.license_source,
       s.license_edition,
       s.service_version,
       s.service_environment,
       s.os_name,
       s.virtualization_vm,
       s.virtualization_container,
       s.virtualization_cloud,
       s.country,
       s.asn::bigint                            AS asn
FROM installation_days AS d
JOIN products AS p USING (product_id)
LEFT JOIN states AS s ON s.installation_id = d.installation_id AND s.state = d.state;
COMMENT ON VIEW v_installation_days IS
    'Every installation on every day (UTC) that it sent a ping, as reported by the last one of the day.';
COMMENT ON COLUMN v_installation_days.features IS 'How often each feature was used on the day.';

CREATE VIEW v_fleet_days AS
SELECT d.day,
       p.slug                                   AS product,
       p.simulated,
       d.dimension,
       d.value,
       d.verdict,
       d.installations,
       d.pings
FROM fleet_days AS d
JOIN products AS p USING (product_id);
COMMENT ON VIEW v_fleet_days IS
    'How many installations of a product sent a ping on a day (UTC), by value of a dimension and by verdict. '
    'Name one dimension and one verdict: each installation is counted in all of them.';
COMMENT ON COLUMN v_fleet_days.dimension IS
    'all, verdict, status, source, source_detail, version, edition, environment, os, arch, vm, container, cloud, country or asn.';
COMMENT ON COLUMN v_fleet_days.value IS 'Empty for the dimension all. other: the values too rare for a row of their own.';
COMMENT ON COLUMN v_fleet_days.verdict IS 'Empty: any verdict.';

CREATE VIEW v_active_days AS
SELECT d.day,
       p.slug                                   AS product,
       p.simulated,
       d.dimension,
       d.value,
       d.verdict,
       d.installations
FROM active_days AS d
JOIN products AS p USING (product_id);
COMMENT ON VIEW v_active_days IS
    'How many installations of a product there were at the end of a day (UTC), by value of a dimension and by verdict; '
    'lost ones only in the dimension life. Name one dimension and one verdict: each installation is counted in all of '
    'them. The last day goes on.';
COMMENT ON COLUMN v_active_days.dimension IS
    'Those of v_fleet_days; and life, turned, hosting, claim_mismatch, source_mismatch';
COMMENT ON COLUMN v_active_days.value IS
    'Empty for the dimension all. other: the values too rare for a row of their own. Of turned: new, returned or lost on '
    'that day.';
COMMENT ON COLUMN v_active_days.verdict IS 'Empty: any verdict.';

CREATE VIEW v_feature_days AS
SELECT d.day,
       p.slug                                   AS product,
       p.simulated,
       d.feature,
       d.uses,
       d.installations
FROM feature_days AS d
JOIN products AS p USING (product_id);
COMMENT ON VIEW v_feature_days IS 'How often a feature was used on a day (UTC), and on how many installations.';
COMMENT ON COLUMN v_feature_days.feature IS 'other: the features too rare for a row of their own.';

CREATE VIEW v_cohort_weeks AS
SELECT c.cohort,
       c.week,
       p.slug                                   AS product,
       p.simulated,
       c.active,
       c.lost,
       c.returned
FROM cohort_weeks AS c
JOIN products AS p USING (product_id);
COMMENT ON VIEW v_cohort_weeks IS
    'Of the installations first seen in one week: how many were seen, lost and returned in another.';
COMMENT ON COLUMN v_cohort_weeks.cohort IS 'Monday of the week of the first ping (UTC).';
COMMENT ON COLUMN v_cohort_weeks.week IS 'Monday of the week that is counted (UTC).';
COMMENT ON COLUMN v_cohort_weeks.active IS 'Seen in that week; in the week of the cohort, all new ones.';
