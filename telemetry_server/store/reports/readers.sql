-- name: reader_known
-- Whether the role $1 is a reader, by its comment; no row: there is no such role.
SELECT coalesce(shobj_description(oid, 'pg_authid') LIKE 'A reader of telemetry-server%', false) AS reader
FROM pg_roles
WHERE rolname = $1;

-- name: reader_made
-- The statements that create the reader $1 with the password $2, or without one, in order. The settings only prevent
-- mistakes; its missing rights keep it from everything else.
SELECT unnest(ARRAY[
    format('CREATE ROLE %I LOGIN CONNECTION LIMIT 10', $1::text)
        || coalesce(' PASSWORD ' || quote_literal(nullif($2::text, '')), ''),
    format('COMMENT ON ROLE %I IS %L', $1, 'A reader of telemetry-server: reads the views v_*, and nothing else.'),
    format('ALTER ROLE %I SET default_transaction_read_only = on', $1),
    format('ALTER ROLE %I SET statement_timeout = %L', $1, '60s'),
    format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %L', $1, '60s'),
    format('ALTER ROLE %I SET timezone = %L', $1, 'UTC'),
    format('ALTER ROLE %I SET search_path = pg_catalog, public', $1)
]);

-- name: reader_password
-- The statement that gives the reader $1 the password $2, and lets it log in again.
SELECT format('ALTER ROLE %I LOGIN', $1::text) || coalesce(' PASSWORD ' || quote_literal(nullif($2::text, '')), '');

-- name: reader_rights
-- The statements that let the reader $1 read the views $2, in order.
SELECT unnest(ARRAY[
    format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', $1::text),
    format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), $1),
    format('GRANT USAGE ON SCHEMA public TO %I', $1),
    format('GRANT SELECT ON %s TO %I',
        (SELECT string_agg(format('public.%I', v), ', ') FROM unnest($2::text[]) AS v), $1)
]);

-- name: reader_shut_out
-- The statements after which the reader $1 can read nothing, in order.
SELECT unnest(ARRAY[
    format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', $1::text),
    format('REVOKE ALL ON SCHEMA public FROM %I', $1),
    format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), $1),
    format('ALTER ROLE %I NOLOGIN', $1)
]);

-- name: reader_dropped
-- The statements that drop the reader $1, its sessions and its objects, in order. Any role may create large objects
-- and temporary ones; only a member of the role may drop them.
SELECT unnest(ARRAY[
    format('GRANT %I TO CURRENT_USER', $1::text),
    format('SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %L', $1),
    format('DROP OWNED BY %I', $1),
    format('DROP ROLE %I', $1)
]);

-- name: reader_reads
-- All that the role $1 may read or write, and whether it is one of the views $2. The right to create in public counts,
-- too: a function there may be called by the queries of other roles.
SELECT c.relname AS name, c.relkind = 'v' AND c.relname = ANY($2::text[]) AS view
FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND (has_any_column_privilege($1::text, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
       OR has_table_privilege($1, c.oid, 'DELETE, TRUNCATE, TRIGGER'))
UNION ALL
SELECT 'schema public', false
WHERE has_schema_privilege($1, 'public', 'CREATE')
ORDER BY name;
