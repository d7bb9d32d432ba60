-- What a state says as columns: views, filters and roll-ups read them as they are.
--
-- Rewrites states, which nobody can read or write meanwhile. v_pings shows a ping whose state is gone, too; and where
-- it shows nothing of the state, states is not read.

ALTER TABLE states
    ADD COLUMN license_source_detail    text    GENERATED ALWAYS AS (facts #>> '{license,source_detail}') STORED,
    ADD COLUMN license_key_hint         text    GENERATED ALWAYS AS (facts #>> '{license,key_hint}') STORED,
    ADD COLUMN license_edition          text    GENERATED ALWAYS AS (facts #>> '{license,edition}') STORED,
    ADD COLUMN service_version          text    GENERATED ALWAYS AS (facts #>> '{service,version}') STORED,
    ADD COLUMN service_environment      text    GENERATED ALWAYS AS (facts #>> '{service,environment}') STORED,
    ADD COLUMN os_type                  text    GENERATED ALWAYS AS (facts #>> '{os,type}') STORED,
    ADD COLUMN os_name                  text    GENERATED ALWAYS AS (facts #>> '{os,name}') STORED,
    ADD COLUMN os_version               text    GENERATED ALWAYS AS (facts #>> '{os,version}') STORED,
    ADD COLUMN os_kernel                text    GENERATED ALWAYS AS (facts #>> '{os,kernel}') STORED,
    ADD COLUMN host_arch                text    GENERATED ALWAYS AS (facts #>> '{host,arch}') STORED,
    ADD COLUMN virtualization_vm        text    GENERATED ALWAYS AS (facts #>> '{virtualization,vm}') STORED,
    ADD COLUMN virtualization_container text    GENERATED ALWAYS AS (facts #>> '{virtualization,container}') STORED,
    ADD COLUMN virtualization_cloud     text    GENERATED ALWAYS AS (facts #>> '{virtualization,cloud}') STORED,
    ADD COLUMN runtime_name             text    GENERATED ALWAYS AS (facts #>> '{runtime,name}') STORED,
    ADD COLUMN runtime_version          text    GENERATED ALWAYS AS (facts #>> '{runtime,version}') STORED,
    ADD COLUMN privacy_level            text    GENERATED ALWAYS AS (facts #>> '{privacy,level}') STORED,
    ADD COLUMN privacy_notice_version   text    GENERATED ALWAYS AS (facts #>> '{privacy,notice_version}') STORED,
    ADD COLUMN country                  text    GENERATED ALWAYS AS (place ->> 'country') STORED,
    ADD COLUMN asn                      bigint  GENERATED ALWAYS AS ((place ->> 'asn')::bigint) STORED,
    ADD COLUMN organisation             text    GENERATED ALWAYS AS (place ->> 'organisation') STORED,
    ADD COLUMN region                   text    GENERATED ALWAYS AS (place ->> 'region') STORED,
    ADD COLUMN city                     text    GENERATED ALWAYS AS (place ->> 'city') STORED,
    ADD COLUMN place_source             text    GENERATED ALWAYS AS (place ->> 'source') STORED,
    ADD COLUMN place_built_on           text    GENERATED ALWAYS AS (place ->> 'built_on') STORED,
    ADD COLUMN place_prefix_length      integer GENERATED ALWAYS AS ((place ->> 'prefix_length')::integer) STORED,
    ADD COLUMN hosting                  boolean GENERATED ALWAYS AS ((place ->> 'hosting')::boolean) STORED,
    ADD COLUMN hosting_source           text    GENERATED ALWAYS AS (place ->> 'hosting_source') STORED;
COMMENT ON COLUMN states.facts IS
    'What it said of itself, by section and field as in fields.md. The generated columns say what is counted, filtered '
    'or shown of this and of place: to take it out of JSON takes longer than to read the rest of the row.';

CREATE OR REPLACE VIEW v_installations AS
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
       s.place_prefix_length,
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

CREATE OR REPLACE VIEW v_pings AS
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
       s.asn,
       s.organisation,
       g.features,
       g.details,
       s.facts,
       s.place,
       g.verdict,
       g.claim_mismatch,
       g.source_mismatch,
       s.region,
       s.city,
       s.place_source,
       s.place_built_on::date                   AS place_built_on,
       s.place_prefix_length,
       s.hosting,
       s.hosting_source,
       p.simulated
FROM pings AS g
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
LEFT JOIN states AS s ON s.installation_id = g.installation_id AND s.state = g.state;

CREATE OR REPLACE VIEW v_unknown_keys AS
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

CREATE OR REPLACE VIEW v_installation_days AS
SELECT d.day,
       d.installation_id,
       p.slug                                   AS product,
       p.simulated,
       d.verdict,
       d.claim_mismatch,
       d.source_mismatch,
       d.pings,
       d.features,
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
       s.asn
FROM installation_days AS d
JOIN products AS p USING (product_id)
LEFT JOIN states AS s ON s.installation_id = d.installation_id AND s.state = d.state;

ANALYZE states;
