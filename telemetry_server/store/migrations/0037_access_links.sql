-- One-time links with which customers fetch the data about them.

CREATE TABLE access_links (
    digest      bytea       PRIMARY KEY CHECK (length(digest) = 32),
    customer_id uuid        NOT NULL REFERENCES customers ON DELETE CASCADE,
    created_at  timestamptz NOT NULL,
    created_by  text        NOT NULL CHECK (length(created_by) BETWEEN 1 AND 300),
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz
);
CREATE INDEX access_links_of ON access_links (customer_id);
COMMENT ON TABLE access_links IS
    'A row is a link with which a customer fetches the data about them once, as SHA-256. Written by "privacy link" and the '
    'page "Privacy". Removed with the customer, and by the job "carry out erasures" a month after it ran out.';
