-- Support cases, the access that customers grant for them, and the approvals of a second person.

CREATE TABLE support_cases (
    case_id     text        PRIMARY KEY CHECK (case_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    title       text        NOT NULL CHECK (length(title) <= 300),
    two_persons boolean     NOT NULL,
    begun_at    timestamptz NOT NULL,
    begun_by    text        NOT NULL CHECK (length(begun_by) BETWEEN 1 AND 300),
    closed_at   timestamptz,
    closed_by   text        CHECK (length(closed_by) BETWEEN 1 AND 300)
);
COMMENT ON TABLE support_cases IS
    'A row is a case of the support team. Grants are opened only while their case is open; with two_persons, only after another person approved it.';

CREATE TABLE support_grants (
    installation_id uuid        NOT NULL,
    grant_id        uuid        NOT NULL,
    product_id      uuid        NOT NULL,
    case_id         text        NOT NULL CHECK (case_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    key_id          text        NOT NULL CHECK (length(key_id) BETWEEN 1 AND 64),
    notice          text        NOT NULL CHECK (length(notice) <= 64),
    ssh             text        CHECK (ssh IN ('certificate', 'key', 'password')),
    received_at     timestamptz NOT NULL,
    not_after       timestamptz NOT NULL,
    revoked_at      timestamptz,
    sealed          bytea       CHECK (length(sealed) <= 65536),
    PRIMARY KEY (installation_id, grant_id)
);
CREATE INDEX support_grants_of_case ON support_grants (case_id, received_at);
COMMENT ON TABLE support_grants IS
    'A row is support access that a customer granted for a case, sealed on the customer''s side. Personal data.';
COMMENT ON COLUMN support_grants.ssh IS 'How the support team signs in: by a certificate, a key pair made for the grant, or a password; NULL: not by SSH.';
COMMENT ON COLUMN support_grants.sealed IS 'The sealed access; the key is not in the database. NULL once the grant is revoked or expired.';

CREATE TABLE support_approvals (
    approval_id uuid        PRIMARY KEY,
    case_id     text        NOT NULL REFERENCES support_cases ON DELETE CASCADE,
    asked_at    timestamptz NOT NULL,
    asked_by    text        NOT NULL CHECK (length(asked_by) BETWEEN 1 AND 300),
    reason      text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    approved_at timestamptz,
    approved_by text        CHECK (approved_by <> asked_by),
    used_at     timestamptz
);
CREATE INDEX support_approvals_of_case ON support_approvals (case_id, asked_at);
COMMENT ON TABLE support_approvals IS
    'A row asks a second person to approve one opening of a case; used_at is set by that opening.';
