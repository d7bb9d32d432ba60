-- name: fitness
-- What PostgreSQL says of the database, of our role in it, and of tables that may be another software's.
SELECT current_database() AS database, current_user AS role, pg_is_in_recovery() AS is_standby,
       current_setting('transaction_read_only') = 'on' AS is_read_only,
       current_setting('server_encoding') AS encoding, current_schema() AS schema,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
       (SELECT array_agg(attname::text) FROM pg_attribute
        WHERE attrelid = to_regclass('schema_migrations') AND attnum > 0 AND NOT attisdropped) AS columns,
       (SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = to_regclass('schema_migrations')) AS owner,
       (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('schema_migrations')) AS owns,
       (SELECT array_agg(relname::text ORDER BY relname) FROM pg_class
        WHERE relkind IN ('r', 'p') AND relnamespace::regnamespace::text = quote_ident(current_schema())
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')) AS tables;
