-- Accounts of people: invitations, passwords, second factors, roles, and products that a person or a token is limited to.
-- Tokens, sign-in links and sessions from before stay valid, with the rights they have.

CREATE TABLE people (
    person_id      uuid        PRIMARY KEY,
    email          text        NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    name           text        NOT NULL CHECK (length(name) <= 200),
    role           text        NOT NULL
        CHECK (role IN ('viewer', 'analyst', 'investigator', 'support', 'privacy_officer', 'admin')),
    product_ids    uuid[],
    password_hash  text,
    totp_salt      bytea,
    totp_since     timestamptz,
    totp_step      bigint,
    shortcuts      boolean     NOT NULL DEFAULT true,
    created_at     timestamptz NOT NULL,
    deactivated_at timestamptz
);
CREATE UNIQUE INDEX people_email ON people (lower(email));
COMMENT ON TABLE people IS
    'A row is a person with an account. Written by an accepted invitation, the page "People", the person''s own page and '
    'the commands "user …". Kept for ever: deactivated_at ends all access.';
COMMENT ON COLUMN people.product_ids IS 'The products this person may see; NULL: all, also later ones.';
COMMENT ON COLUMN people.password_hash IS 'Argon2id in PHC format; NULL: no sign-in with a password.';
COMMENT ON COLUMN people.totp_salt IS
    'The secret of the authenticator app is derived from it by the keyring, which is stored outside the database.';
COMMENT ON COLUMN people.totp_since IS 'When the first code confirmed the app; NULL: no second factor.';
COMMENT ON COLUMN people.totp_step IS 'The time step of the last accepted code: each code works once.';

CREATE TABLE recovery_codes (
    person_id uuid        NOT NULL REFERENCES people ON DELETE CASCADE,
    digest    bytea       NOT NULL CHECK (length(digest) = 32),
    used_at   timestamptz,
    PRIMARY KEY (person_id, digest)
);
COMMENT ON TABLE recovery_codes IS
    'A row is a code that replaces the authenticator app once, as SHA-256 of 120 random bits. Replaced as a set.';

CREATE TABLE invitations (
    digest      bytea       PRIMARY KEY CHECK (length(digest) = 32),
    email       text        NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    role        text        NOT NULL
        CHECK (role IN ('viewer', 'analyst', 'investigator', 'support', 'privacy_officer', 'admin')),
    product_ids uuid[],
    person_id   uuid        REFERENCES people ON DELETE CASCADE,
    invited_by  text        NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);
COMMENT ON TABLE invitations IS
    'A row is an open invitation, its link as SHA-256. Written by the page "People" and by "user invite"; removed when it is '
    'accepted or withdrawn, and by the job "forget sessions" a day after it ran out.';
COMMENT ON COLUMN invitations.person_id IS 'The person who may set a new password; NULL: the link makes a new account.';

CREATE TABLE sign_in_attempts (
    bucket  bytea       PRIMARY KEY CHECK (length(bucket) = 32),
    free_at timestamptz NOT NULL
);
COMMENT ON TABLE sign_in_attempts IS
    'A row is a rate limit of failed sign-ins, by the digest of its account or network; free_at as in GCRA. Removed by the '
    'job "forget sessions".';

ALTER TABLE tokens
    DROP CONSTRAINT tokens_role_check,
    ADD CONSTRAINT tokens_role_check
        CHECK (role IN ('viewer', 'analyst', 'investigator', 'support', 'privacy_officer', 'admin')),
    ADD COLUMN person_id uuid REFERENCES people ON DELETE CASCADE,
    ADD COLUMN scopes text[],
    ADD COLUMN product_ids uuid[],
    ADD COLUMN networks cidr[];
COMMENT ON TABLE tokens IS
    'A row is an API token, as SHA-256; the token itself is shown once. Written by the pages "Service tokens" and "My account" '
    'and by "token create" and "token revoke". Kept for ever.';
COMMENT ON COLUMN tokens.person_id IS 'The person whose token this is, never with more rights than that person; NULL: a service.';
COMMENT ON COLUMN tokens.scopes IS 'The permissions of this token; NULL: all of its role.';
COMMENT ON COLUMN tokens.product_ids IS 'The products this token may see; NULL: all, also later ones.';
COMMENT ON COLUMN tokens.networks IS 'The networks it works from; NULL: from any.';

ALTER TABLE sign_in_links
    DROP CONSTRAINT sign_in_links_role_check,
    ADD CONSTRAINT sign_in_links_role_check
        CHECK (role IN ('viewer', 'analyst', 'investigator', 'support', 'privacy_officer', 'admin'));

ALTER TABLE sessions
    DROP CONSTRAINT sessions_role_check,
    ADD CONSTRAINT sessions_role_check
        CHECK (role IN ('viewer', 'analyst', 'investigator', 'support', 'privacy_officer', 'admin')),
    ADD COLUMN person_id uuid REFERENCES people ON DELETE CASCADE,
    ADD COLUMN authenticated_at timestamptz,
    ADD COLUMN methods text[] NOT NULL DEFAULT '{link}',
    ADD COLUMN device text NOT NULL DEFAULT '',
    ADD COLUMN network cidr,
    ADD COLUMN awaits_code boolean NOT NULL DEFAULT false;
UPDATE sessions SET authenticated_at = created_at;
ALTER TABLE sessions ALTER COLUMN authenticated_at SET NOT NULL;
CREATE INDEX sessions_of_person ON sessions (person_id);
COMMENT ON COLUMN sessions.role IS 'Of a one-time link; the role of a person is that of people.';
COMMENT ON COLUMN sessions.person_id IS 'NULL: signed in by a one-time link.';
COMMENT ON COLUMN sessions.authenticated_at IS 'When the browser last gave its credentials; some pages need a recent time.';
COMMENT ON COLUMN sessions.methods IS 'How: link, password, totp, recovery_code, proxy.';
COMMENT ON COLUMN sessions.awaits_code IS 'The password was right, and the code of the second factor is awaited: not signed in yet.';
