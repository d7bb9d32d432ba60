-- Notes on customers, by the people who work with them, and how long releases are supported.

CREATE TABLE customer_notes (
    note_id     uuid        PRIMARY KEY,
    customer_id uuid        NOT NULL REFERENCES customers ON DELETE CASCADE,
    written_at  timestamptz NOT NULL,
    author      text        NOT NULL CHECK (length(author) BETWEEN 1 AND 300),
    note        text        NOT NULL CHECK (length(note) BETWEEN 1 AND 4000)
);
CREATE INDEX customer_notes_of ON customer_notes (customer_id, written_at);
COMMENT ON TABLE customer_notes IS
    'A row is a note on a customer, written on its page. Personal data of the customer. Kept as long as the customer.';

ALTER TABLE releases ADD COLUMN supported_until date;
COMMENT ON COLUMN releases.supported_until IS 'The last day on which the version is supported; NULL: no end is known.';
