-- What the database remembers of each master key of the keyring, so that an older keyring is not taken for it.

CREATE TABLE master_keys (
    key           text        PRIMARY KEY,
    check_value   bytea       NOT NULL CHECK (length(check_value) = 32),
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    abandoned_at  timestamptz
);
COMMENT ON TABLE master_keys IS
    'A row is a master key of the keyring by its id; the check value tells it from any other and gives nothing of '
    'it away. abandoned_at: the operator goes on without it. Written by "serve" before the key is used, and by '
    '"keyring rotate" and "keyring abandon". Kept for ever, so that no id is used twice.';
