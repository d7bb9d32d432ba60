-- For a cluster, functions read no table, and the views call them apart from the names they join. Locks two views, and no
-- table.

DROP FUNCTION feature_uses(bytea, jsonb);
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

CREATE OR REPLACE VIEW v_pings AS
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

CREATE OR REPLACE VIEW v_installation_days AS
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
