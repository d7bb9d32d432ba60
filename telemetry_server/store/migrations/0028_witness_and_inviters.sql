-- Checkpoints of other servers' audit logs; and invitations give what who sent them may still give.

CREATE TABLE witnessed_checkpoints (
    origin      text        NOT NULL CHECK (length(origin) BETWEEN 1 AND 300),
    size        bigint      NOT NULL CHECK (size > 0),
    root        bytea       NOT NULL CHECK (length(root) = 32),
    note        text        NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (origin, size, root)
);
COMMENT ON TABLE witnessed_checkpoints IS
    'A row is a checkpoint of another server''s audit log, which this one keeps as its witness, with the cosignature. '
    'Written by the API, only if it contains the one before it, or that log was restored from a backup. Kept for ever.';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON witnessed_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

ALTER TABLE invitations ADD COLUMN inviter_id uuid REFERENCES people ON DELETE CASCADE;
UPDATE invitations AS i SET inviter_id = p.person_id
FROM people AS p
WHERE i.invited_by = 'person:' || p.email || ' (person ' || p.person_id || ')';
COMMENT ON COLUMN invitations.inviter_id IS
    'The person who made it, and has to be allowed to when it is accepted; NULL: a command or a one-time link.';
