-- Legal holds, and the rows that they keep from erasure and retention.

CREATE TABLE holds (
    hold_id        uuid        PRIMARY KEY,
    subject_kind   text        NOT NULL CHECK (subject_kind IN ('installation', 'customer')),
    subject        uuid        NOT NULL,
    tables         text[]      NOT NULL CHECK (cardinality(tables) > 0),
    fields         text[]      CHECK (cardinality(fields) > 0),
    since          timestamptz,
    until          timestamptz,
    case_reference text        CHECK (length(case_reference) BETWEEN 1 AND 200),
    ground         text        NOT NULL CHECK (length(ground) BETWEEN 1 AND 1000),
    expires_on     date        NOT NULL,
    proposed_at    timestamptz NOT NULL,
    proposed_by    text        NOT NULL CHECK (length(proposed_by) BETWEEN 1 AND 300),
    confirmed_at   timestamptz,
    confirmed_by   text        CHECK (lower(confirmed_by) <> lower(proposed_by)),
    released_at    timestamptz,
    released_by    text        CHECK (length(released_by) BETWEEN 1 AND 300),
    release_reason text        CHECK (length(release_reason) BETWEEN 1 AND 1000),
    emptied_at     timestamptz
);
COMMENT ON TABLE holds IS
    'A row is a legal hold on rows about a subject: proposed by one person, in force once another one confirmed it. Written by '
    '"privacy hold" and the page "Holds". Kept for ever, as the erasures are.';
COMMENT ON COLUMN holds.tables IS 'The tables of the export of a subject whose rows are kept.';
COMMENT ON COLUMN holds.fields IS 'The columns of these rows that are kept; NULL: all.';
COMMENT ON COLUMN holds.since IS 'Of rows with a time, only those from then on; with until, before that.';
COMMENT ON COLUMN holds.expires_on IS 'The last day on which it is in force.';
COMMENT ON COLUMN holds.emptied_at IS 'When the rows that it kept were deleted, after it had expired or was released.';

CREATE TABLE held_rows (
    hold_id    uuid        NOT NULL REFERENCES holds ON DELETE CASCADE,
    table_name text        NOT NULL,
    row_key    text        NOT NULL,
    kept_at    timestamptz NOT NULL,
    held       jsonb       NOT NULL,
    PRIMARY KEY (hold_id, table_name, row_key)
);
COMMENT ON TABLE held_rows IS
    'A row is a copy of a row that a hold names, made before the row itself is changed or deleted. Written by the jobs that delete '
    'data. Deleted once the hold has expired or was released. Personal data.';

ALTER TABLE erasures
    ADD COLUMN erased_rows jsonb   NOT NULL DEFAULT '{}',
    ADD COLUMN held        boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN erasures.erased_rows IS 'The number of deleted rows by table.';
COMMENT ON COLUMN erasures.held IS 'Whether a legal hold still keeps rows: they are deleted, and it is certified again, once it is over.';
