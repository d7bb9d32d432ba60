-- name: begin
-- First on the connection of an export: parallel workers prepare the rows, with memory in proportion to that of the
-- server. The time limit allows slow clients; the query ends soon after its client has disconnected.
SELECT set_config('default_transaction_read_only', 'on', false), set_config('parallel_setup_cost', '0', false),
       set_config('parallel_tuple_cost', '0', false),
       set_config('work_mem', least(pg_size_bytes(current_setting('shared_buffers')) / 4096, 262144)::text, false),
       set_config('statement_timeout', '1h', false), set_config('client_connection_check_interval', '2s', false),
       set_config('TimeZone', 'UTC', false),
       set_config('DateStyle', 'ISO', false);

-- name: wanted_installations
-- The installations that match the filter; a part of the others.
SELECT f.installation_id
FROM installation_facts AS f
LEFT JOIN installations AS i ON i.installation_id = f.installation_id
WHERE TRUE /*:filter*/;

-- name: wanted_licenses
-- The licenses that match the filter; a part of the next.
SELECT l.license_id FROM licenses AS l WHERE TRUE /*:filter*/;

-- name: licenses
-- Every license, of one product or all, that changed, or whose customer did, since a moment or at any time. Has the
-- columns of an import and further ones. The key is not stored: license_id identifies the license.
SELECT v.*, c.email AS customer_email, c.name AS customer_name, c.company AS customer_company,
       c.tax_id AS customer_tax_id, c.technical_contact AS customer_technical_contact,
       c.account AS customer_account,
       nullif(l.custom, '{}') AS custom
FROM v_licenses AS v
JOIN licenses AS l USING (license_id)
LEFT JOIN customers AS c ON c.customer_id = v.customer_id
WHERE ($1::text IS NULL OR v.product = $1) AND ($2::timestamptz IS NULL OR greatest(v.updated_at, c.updated_at) >= $2)
  AND TRUE /*:wanted*/;

-- name: installations
-- Every installation in its present state, of one product or all, last seen since a moment or at any time.
SELECT * FROM v_installations AS v
WHERE ($1::text IS NULL OR product = $1) AND ($2::timestamptz IS NULL OR last_received_at >= $2)
  AND TRUE /*:wanted*/;

-- name: pings
-- Every ping that counts, of one product or all, received since a moment or at any time.
SELECT * FROM v_pings AS v
WHERE ($1::text IS NULL OR product = $1) AND ($2::timestamptz IS NULL OR received_at >= $2)
  AND TRUE /*:wanted*/;

-- name: changes
-- Every changed fact, of one product or all, since a moment or at any time.
SELECT * FROM v_changes AS v
WHERE ($1::text IS NULL OR product = $1) AND ($2::timestamptz IS NULL OR changed_at >= $2)
  AND TRUE /*:wanted*/;

-- name: changes_but_addresses
-- The same without those of addresses.
SELECT * FROM v_changes AS v
WHERE ($1::text IS NULL OR product = $1) AND ($2::timestamptz IS NULL OR changed_at >= $2)
  AND field <> 'client_address' AND TRUE /*:wanted*/;

-- name: installation_days
-- Every day of an installation, of one product or all, since the day of a moment or at any time.
SELECT * FROM v_installation_days AS v
WHERE ($1::text IS NULL OR product = $1) AND ($2::timestamptz IS NULL OR day >= ($2 AT TIME ZONE 'UTC')::date)
  AND TRUE /*:wanted*/;

-- name: fleet_days
-- Every count of the fleet, likewise.
SELECT * FROM v_fleet_days
WHERE ($1::text IS NULL OR product = $1) AND ($2::timestamptz IS NULL OR day >= ($2 AT TIME ZONE 'UTC')::date);

-- name: feature_days
-- Every count of a feature, likewise.
SELECT * FROM v_feature_days
WHERE ($1::text IS NULL OR product = $1) AND ($2::timestamptz IS NULL OR day >= ($2 AT TIME ZONE 'UTC')::date);

-- name: cohort_weeks
-- Every week of a cohort, likewise.
SELECT * FROM v_cohort_weeks
WHERE ($1::text IS NULL OR product = $1) AND ($2::timestamptz IS NULL OR week >= ($2 AT TIME ZONE 'UTC')::date);

-- name: expected_installations
-- For EXPLAIN only: for the joins of the views the planner's estimate is far too low.
SELECT FROM installations WHERE ($1::timestamptz IS NULL OR last_received_at >= $1);

-- name: expected_pings
-- For EXPLAIN only, likewise.
SELECT FROM pings WHERE ($1::timestamptz IS NULL OR received_at >= $1);
