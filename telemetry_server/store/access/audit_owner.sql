-- name: protect
-- Gives the tables to a role that no one can log in as; the server's role is the owner of the other tables.
DO $$
DECLARE
    server name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('schema_migrations'));
    each   name;
BEGIN
    IF (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('witnessed_checkpoints')) = 'telemetry_audit' THEN
        RETURN;
    END IF;
    IF to_regrole('telemetry_audit') IS NULL THEN
        CREATE ROLE telemetry_audit NOLOGIN;
    END IF;
    FOREACH each IN ARRAY ARRAY['audit_entries', 'audit_waiting', 'audit_leaves', 'audit_nodes', 'audit_checkpoints',
                                'witnessed_checkpoints'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO telemetry_audit', each);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO %I', each, server);
    END LOOP;
    EXECUTE format('GRANT DELETE ON audit_entries, audit_waiting TO %I', server);
    ALTER FUNCTION refuse_audit_change OWNER TO telemetry_audit;
    ALTER FUNCTION refuse_unrecorded_erasure OWNER TO telemetry_audit;
END;
$$;

-- name: give_back
-- Gives them to the server's role again.
DO $$
DECLARE
    server name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('schema_migrations'));
    each   name;
BEGIN
    IF to_regclass('audit_entries') IS NULL OR to_regrole('telemetry_audit') IS NULL THEN
        RETURN;
    END IF;
    FOREACH each IN ARRAY ARRAY['audit_entries', 'audit_waiting', 'audit_leaves', 'audit_nodes', 'audit_checkpoints',
                                'witnessed_checkpoints'] LOOP
        EXECUTE format('ALTER TABLE IF EXISTS %I OWNER TO %I', each, server); -- one is of a later migration
    END LOOP;
    EXECUTE format('ALTER FUNCTION refuse_audit_change OWNER TO %I', server);
    EXECUTE format('ALTER FUNCTION refuse_unrecorded_erasure OWNER TO %I', server);
END;
$$;
