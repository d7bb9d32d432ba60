-- The audit log: who saw or changed what, as a Merkle tree over salted commitments.

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
