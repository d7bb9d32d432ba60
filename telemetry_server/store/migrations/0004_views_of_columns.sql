-- The views read the columns of a state, and v_pings reads no state where nothing of it is shown.

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
       s.asn::bigint                            AS asn,
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
       s.place_prefix_length::integer           AS place_prefix_length,
       s.hosting::boolean                       AS hosting,
       s.hosting_source,
       p.simulated
FROM pings AS g
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
LEFT JOIN states AS s ON s.installation_id = g.installation_id AND s.state = g.state; -- LEFT: not read where nothing of it is shown

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
       s.asn::bigint                            AS asn
FROM installation_days AS d
JOIN products AS p USING (product_id)
LEFT JOIN states AS s ON s.installation_id = d.installation_id AND s.state = d.state;
