-- Saved views, links that show numbers without an account, and notes on charts.

CREATE TABLE saved_views (
    view_id    uuid        PRIMARY KEY,
    name       text        NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    address    text        NOT NULL CHECK (address ~ '^/' AND length(address) <= 2000),
    shared     boolean     NOT NULL,
    person_id  uuid        REFERENCES people ON DELETE CASCADE,
    created_by text        NOT NULL CHECK (length(created_by) BETWEEN 1 AND 300),
    created_at timestamptz NOT NULL,
    CONSTRAINT saved_views_are_shared_or_of_a_person CHECK (shared OR person_id IS NOT NULL)
);
CREATE INDEX saved_views_of_person ON saved_views (person_id);
COMMENT ON TABLE saved_views IS
    'A row is a page with its query under a name, in the rail of its person, or with shared of everyone who may see that '
    'page. Written by the page "Saved views". Kept until it is deleted.';
COMMENT ON COLUMN saved_views.person_id IS 'NULL: saved from a one-time link of the command line.';

CREATE TABLE share_links (
    link_id      uuid        PRIMARY KEY,
    digest       bytea       NOT NULL CONSTRAINT share_links_digest_is_unique UNIQUE CHECK (length(digest) = 32),
    label        text        NOT NULL CHECK (length(label) BETWEEN 1 AND 180),
    person_id    uuid        REFERENCES people ON DELETE CASCADE,
    product_ids  uuid[],
    created_by   text        NOT NULL CHECK (length(created_by) BETWEEN 1 AND 300),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    last_used_on date,
    CONSTRAINT share_links_expire CHECK (expires_at > created_at)
);
COMMENT ON TABLE share_links IS
    'A row is a link that shows numbers without an account, as SHA-256 of its secret. Written by the page "Share links". Kept '
    'for ever; it ends at expires_at or revoked_at, and with the rights of its person.';
COMMENT ON COLUMN share_links.person_id IS 'NULL: made from a one-time link of the command line.';
COMMENT ON COLUMN share_links.product_ids IS 'The products it shows, never more than its person may see; NULL: all of these.';

CREATE TABLE chart_notes (
    note_id    uuid        PRIMARY KEY,
    day        date        NOT NULL,
    product_id uuid        REFERENCES products ON DELETE CASCADE,
    note       text        NOT NULL CHECK (length(note) BETWEEN 1 AND 200),
    author     text        NOT NULL CHECK (length(author) BETWEEN 1 AND 300),
    written_at timestamptz NOT NULL
);
CREATE INDEX chart_notes_by_day ON chart_notes (day);
COMMENT ON TABLE chart_notes IS
    'A row is a note at a day of the charts. Written by the overview. Kept until it is deleted.';
COMMENT ON COLUMN chart_notes.product_id IS 'NULL: about all products.';
