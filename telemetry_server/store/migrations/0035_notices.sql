-- The versions of the privacy notice, and how much of an installation or a customer may be kept.

CREATE TABLE notices (
    version    text        NOT NULL CHECK (version ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    language   text        NOT NULL CHECK (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$'),
    text       text        NOT NULL CHECK (length(text) BETWEEN 1 AND 200000),
    sha256     bytea       NOT NULL CHECK (length(sha256) = 32),
    valid_from timestamptz NOT NULL,
    added_at   timestamptz NOT NULL,
    added_by   text        NOT NULL CHECK (length(added_by) BETWEEN 1 AND 300),
    PRIMARY KEY (version, language)
);
COMMENT ON TABLE notices IS
    'A row is a version of the privacy notice in one language. Written by the page "Privacy" and by "privacy notice add". '
    'Never changed, and kept for ever: pings name the version under which they were collected.';
COMMENT ON COLUMN notices.sha256 IS 'Of the text in UTF-8.';
COMMENT ON COLUMN notices.valid_from IS
    'The same for all languages of a version. The version with the latest one that is not in the future is in force.';

CREATE FUNCTION refuse_notice_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'A version of the notice is never changed or removed: add another version.'
        USING ERRCODE = 'insufficient_privilege';
END;
$$;
COMMENT ON FUNCTION refuse_notice_change IS 'Keeps the versions of the notice as they were.';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON notices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_notice_change();

CREATE TABLE installation_levels (
    installation_id uuid        PRIMARY KEY,
    level           text        NOT NULL CHECK (level IN ('license', 'system')),
    set_at          timestamptz NOT NULL,
    reduced_at      timestamptz
);
COMMENT ON TABLE installation_levels IS
    'A row is the most that may be kept of an installation, whatever it sends. Written by the page "Privacy" and by '
    '"privacy level", which also remove it. Kept as its installation.';
COMMENT ON COLUMN installation_levels.reduced_at IS
    'When the job "keep to levels" removed what was kept above it before. NULL: it waits.';

CREATE TABLE customer_levels (
    customer_id uuid        PRIMARY KEY REFERENCES customers ON DELETE CASCADE,
    level       text        NOT NULL CHECK (level IN ('license', 'system')),
    set_at      timestamptz NOT NULL,
    reduced_at  timestamptz
);
COMMENT ON TABLE customer_levels IS
    'A row is the most that may be kept of the installations with a license of a customer. Written and removed as '
    'installation_levels.';
