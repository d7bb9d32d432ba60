-- Sign-in by OpenID providers and passkeys; the time zone and the numbers of people.

CREATE TABLE sign_in_flows (
    digest     bytea       PRIMARY KEY CHECK (length(digest) = 32),
    browser    bytea       NOT NULL CHECK (length(browser) = 32),
    purpose    text        NOT NULL
        CHECK (purpose IN ('sign_in', 'again', 'link', 'try', 'passkey', 'new_passkey')),
    provider   text,
    session    bytea       CHECK (length(session) = 32),
    onward     text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE sign_in_flows IS
    'A row is a sign-in that goes by way of a provider or an authenticator: its state or challenge as SHA-256, and the '
    'browser that began it, by SHA-256 of a cookie. Removed by the answer, or by the job "forget sessions".';
COMMENT ON COLUMN sign_in_flows.session IS 'The session that began it; NULL: signed out.';

CREATE TABLE person_identities (
    issuer       text        NOT NULL CHECK (length(issuer) BETWEEN 1 AND 2048),
    subject      text        NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    person_id    uuid        NOT NULL REFERENCES people ON DELETE CASCADE,
    email        text        NOT NULL CHECK (length(email) <= 254),
    linked_at    timestamptz NOT NULL,
    last_used_at timestamptz,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_of_person ON person_identities (person_id);
COMMENT ON TABLE person_identities IS
    'A row is an account at an OpenID provider with which a person signs in. Written by the first sign-in of a new person, '
    'and by the pages "My account" and "Sign-in".';
COMMENT ON COLUMN person_identities.email IS 'As the provider named it, to recognize the account; it signs no one in.';

CREATE TABLE passkeys (
    credential_id bytea       PRIMARY KEY CHECK (length(credential_id) BETWEEN 1 AND 1023),
    person_id     uuid        NOT NULL REFERENCES people ON DELETE CASCADE,
    public_key    bytea       NOT NULL,
    sign_count    bigint      NOT NULL CHECK (sign_count >= 0),
    name          text        NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    backed_up     boolean     NOT NULL,
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz
);
CREATE INDEX passkeys_of_person ON passkeys (person_id);
COMMENT ON TABLE passkeys IS
    'A row is a passkey of a person, with its public key. Written by the page "My account". Removed there and by an '
    'administrator.';
COMMENT ON COLUMN passkeys.sign_count IS 'Of the last sign-in; an authenticator that counts must count on.';
COMMENT ON COLUMN passkeys.backed_up IS 'Whether it is synchronized to other devices.';

COMMENT ON COLUMN sessions.methods IS 'How: link, password, totp, recovery_code, proxy, passkey, oidc:PROVIDER, mfa (of the provider).';
COMMENT ON COLUMN sessions.awaits_code IS
    'The first factor was right, and the second one is awaited: not signed in yet.';
COMMENT ON TABLE recovery_codes IS
    'A row is a code that replaces the second factor once, as SHA-256 of 120 random bits. Replaced as a set.';

ALTER TABLE people
    ADD COLUMN time_zone    text NOT NULL DEFAULT 'UTC' CHECK (length(time_zone) BETWEEN 1 AND 64),
    ADD COLUMN number_style text NOT NULL DEFAULT 'en' CHECK (number_style IN ('en', 'de', 'fr', 'de-CH'));
COMMENT ON COLUMN people.time_zone IS 'The zone of times on pages, by its IANA name. Days of counts are those of UTC.';
COMMENT ON COLUMN people.number_style IS 'How pages write numbers: 1,234.5 or 1.234,5 or 1 234,5 or 1’234.5.';
