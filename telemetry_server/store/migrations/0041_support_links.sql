-- Links with which customers without the SDK grant support access in a browser.

CREATE TABLE support_links (
    link_digest bytea       PRIMARY KEY CHECK (length(link_digest) = 32),
    case_id     text        NOT NULL REFERENCES support_cases ON DELETE CASCADE,
    product_id  uuid        NOT NULL,
    made_at     timestamptz NOT NULL,
    made_by     text        NOT NULL CHECK (length(made_by) BETWEEN 1 AND 300),
    expires_at  timestamptz NOT NULL
);
CREATE INDEX support_links_of_case ON support_links (case_id);
COMMENT ON TABLE support_links IS
    'A row is a link by which a customer grants access for a case in a browser. Deleted once it has expired. The link itself is not stored.';
