-- What a state says as columns, for views, filters and roll-ups.
--
-- Rewrites states, which nobody can read or write meanwhile. The views have a migration of their own: who reads one
-- locks it first, and the table then; a migration that has the table and wants the view would be the end of both.

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
    ADD COLUMN virtualization_told      boolean GENERATED ALWAYS AS (facts ? 'virtualization') STORED,
    ADD COLUMN runtime_name             text    GENERATED ALWAYS AS (facts #>> '{runtime,name}') STORED,
    ADD COLUMN runtime_version          text    GENERATED ALWAYS AS (facts #>> '{runtime,version}') STORED,
    ADD COLUMN privacy_level            text    GENERATED ALWAYS AS (facts #>> '{privacy,level}') STORED,
    ADD COLUMN privacy_notice_version   text    GENERATED ALWAYS AS (facts #>> '{privacy,notice_version}') STORED,
    ADD COLUMN country                  text    GENERATED ALWAYS AS (place ->> 'country') STORED,
    ADD COLUMN asn                      text    GENERATED ALWAYS AS (place ->> 'asn') STORED,
    ADD COLUMN organisation             text    GENERATED ALWAYS AS (place ->> 'organisation') STORED,
    ADD COLUMN region                   text    GENERATED ALWAYS AS (place ->> 'region') STORED,
    ADD COLUMN city                     text    GENERATED ALWAYS AS (place ->> 'city') STORED,
    ADD COLUMN place_source             text    GENERATED ALWAYS AS (place ->> 'source') STORED,
    ADD COLUMN place_built_on           text    GENERATED ALWAYS AS (place ->> 'built_on') STORED,
    ADD COLUMN place_prefix_length      text    GENERATED ALWAYS AS (place ->> 'prefix_length') STORED,
    ADD COLUMN hosting                  text    GENERATED ALWAYS AS (place ->> 'hosting') STORED,
    ADD COLUMN hosting_source           text    GENERATED ALWAYS AS (place ->> 'hosting_source') STORED;
COMMENT ON COLUMN states.state IS
    'A keyed digest of the rest of the row but what is generated; the key is outside the database.';
COMMENT ON COLUMN states.facts IS
    'What it said of itself, by section and field as in fields.md. The generated columns say what is counted, filtered '
    'or shown of this and of place; to take one out of JSON takes longer than to read all of them. They are text: a '
    'cast that fails would keep a ping out.';

ANALYZE states; -- the new columns have no statistics
