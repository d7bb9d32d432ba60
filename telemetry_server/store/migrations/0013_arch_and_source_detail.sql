-- Two more dimensions. The columns are empty until the job "catch up" has filled them from states: nothing is
-- rewritten here, however many installations there are. Days counted before have neither.

ALTER TABLE installation_facts ADD COLUMN license_source_detail text, ADD COLUMN arch text;
COMMENT ON COLUMN installation_facts.arch IS
    'Here and in license_source_detail, NULL: the job "catch up" has not filled it yet.';
COMMENT ON COLUMN v_fleet_days.dimension IS
    'all, verdict, status, source, source_detail, version, edition, environment, os, arch, vm, container, cloud, country or asn.';
