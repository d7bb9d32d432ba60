-- The register of disclosures, and the links and tokens that disclose.

CREATE TABLE disclosures (
    disclosure_id uuid        PRIMARY KEY,
    disclosed_at  timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL,
    recorded_by   text        NOT NULL CHECK (length(recorded_by) BETWEEN 1 AND 300),
    recipient     text        NOT NULL CHECK (length(recipient) BETWEEN 1 AND 300),
    subject_kind  text        CHECK (subject_kind IN ('installation', 'customer')),
    subject       uuid,
    subjects      text        NOT NULL CHECK (length(subjects) BETWEEN 1 AND 1000),
    fields        text        NOT NULL CHECK (length(fields) BETWEEN 1 AND 1000),
    ground        text        NOT NULL CHECK (length(ground) BETWEEN 1 AND 1000),
    duty          text        NOT NULL CHECK (length(duty) BETWEEN 1 AND 1000),
    token_id      uuid,
    CHECK ((subject IS NULL) = (subject_kind IS NULL))
);
CREATE INDEX disclosures_by_time ON disclosures (disclosed_at);
COMMENT ON TABLE disclosures IS
    'A row is a disclosure of personal data to someone else. Written by "privacy disclosures add", the page "Disclosures", each use '
    'of a token with a purpose, and by data that is handed over to another controller. Never changed, and kept for ever.';
COMMENT ON COLUMN disclosures.subjects IS 'Whose data it is, in words: one subject, a filter, or a path and its query.';
COMMENT ON COLUMN disclosures.fields IS 'Which data it is, in words.';
COMMENT ON COLUMN disclosures.duty IS 'What the recipient has promised, such as the purpose it is bound to.';
COMMENT ON COLUMN disclosures.token_id IS 'The API token that was used.';

CREATE TABLE token_purposes (
    token_id  uuid PRIMARY KEY REFERENCES tokens ON DELETE CASCADE,
    recipient text NOT NULL CHECK (length(recipient) BETWEEN 1 AND 300),
    purpose   text NOT NULL CHECK (length(purpose) BETWEEN 1 AND 1000),
    ground    text NOT NULL CHECK (length(ground) BETWEEN 1 AND 1000)
);
COMMENT ON TABLE token_purposes IS
    'A row binds the API token of an affiliate to a purpose: each of its uses is a row of disclosures. Written by "token create".';

ALTER TABLE access_links
    ADD COLUMN portable  boolean NOT NULL DEFAULT false,
    ADD COLUMN recipient text    CHECK (length(recipient) BETWEEN 1 AND 300);
COMMENT ON COLUMN access_links.portable IS 'Whether it gives one JSON file, for the right to data portability.';
COMMENT ON COLUMN access_links.recipient IS 'The other controller that the customer wants the data to go to; NULL: the customer.';
