-- What a case rests on, who got it, and how long it is out of the queue.

CREATE TABLE case_rows (
    installation_id uuid        NOT NULL,
    case_id         uuid        NOT NULL,
    kind            text        NOT NULL CHECK (kind IN ('pings', 'forks', 'changes')),
    row_key         text        NOT NULL CHECK (length(row_key) BETWEEN 1 AND 300),
    happened_at     timestamptz NOT NULL,
    row             jsonb       NOT NULL CHECK (jsonb_typeof(row) = 'object'),
    PRIMARY KEY (installation_id, case_id, kind, row_key)
);
CREATE INDEX case_rows_of ON case_rows (case_id, kind);
COMMENT ON TABLE case_rows IS
    'A row is a copy of a ping, a forked ping or a change that a case rests on: what it was copied from is forgotten after '
    'months. Written where a person opens a case for work or exports it. Kept until its hold is released, or its '
    'installation is erased.';

CREATE TABLE case_holds (
    case_id     uuid        PRIMARY KEY REFERENCES cases ON DELETE CASCADE,
    ground      text        NOT NULL CHECK (length(ground) BETWEEN 1 AND 1000),
    held_at     timestamptz NOT NULL,
    held_by     text        NOT NULL CHECK (length(held_by) BETWEEN 1 AND 300),
    rows        bigint      NOT NULL CHECK (rows >= 0),
    copied_at   timestamptz NOT NULL,
    is_whole    boolean     NOT NULL,
    released_at timestamptz
);
COMMENT ON TABLE case_holds IS
    'A row is why the rows of a case are kept beyond their time: its ground, since when, and by whom. A released hold has no '
    'rows. Written by the page of the case and by "investigate export". Kept as the case.';
COMMENT ON COLUMN case_holds.is_whole IS 'False: there were more rows than a case may hold, and the oldest were left out.';

CREATE TABLE case_handovers (
    handover_id uuid        PRIMARY KEY,
    case_id     uuid        NOT NULL REFERENCES cases ON DELETE CASCADE,
    exported_at timestamptz NOT NULL,
    actor       text        NOT NULL CHECK (length(actor) BETWEEN 1 AND 300),
    purpose     text        NOT NULL CHECK (length(purpose) BETWEEN 1 AND 1000),
    redaction   text        NOT NULL CHECK (redaction IN ('nothing', 'addresses', 'people')),
    rows        bigint      NOT NULL CHECK (rows >= 0),
    sha256      bytea       NOT NULL CHECK (length(sha256) = 32),
    statement   text        NOT NULL CHECK (length(statement) BETWEEN 1 AND 10000)
);
CREATE INDEX case_handovers_of ON case_handovers (case_id, exported_at);
COMMENT ON TABLE case_handovers IS
    'A row is an export of the evidence of a case: by whom, for which purpose, and the signed statement on it. Written '
    'before it leaves. Kept as the case.';
COMMENT ON COLUMN case_handovers.sha256 IS 'Of its tagmanifest-sha256.txt, which stands for all its files.';

CREATE TABLE case_attachments (
    attachment_id uuid        PRIMARY KEY,
    case_id       uuid        NOT NULL REFERENCES cases ON DELETE CASCADE,
    added_at      timestamptz NOT NULL,
    added_by      text        NOT NULL CHECK (length(added_by) BETWEEN 1 AND 300),
    name          text        NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    content       bytea       NOT NULL CHECK (length(content) BETWEEN 1 AND 1048576)
);
CREATE INDEX case_attachments_of ON case_attachments (case_id, added_at);
COMMENT ON TABLE case_attachments IS
    'A row is a file that a person added to a case. Written by the page of the case. Kept as the case.';

CREATE TABLE case_pauses (
    pause_id uuid        PRIMARY KEY,
    case_id  uuid        NOT NULL REFERENCES cases ON DELETE CASCADE,
    kind     text        NOT NULL CHECK (kind IN ('exception', 'snooze', 'known_and_fine')),
    rule     text        CHECK (rule ~ '^[a-z][a-z0-9_]{0,62}$'),
    until    timestamptz NOT NULL,
    reason   text        CHECK (length(reason) BETWEEN 1 AND 2000),
    begun_at timestamptz NOT NULL,
    begun_by text        NOT NULL CHECK (length(begun_by) BETWEEN 1 AND 300),
    ended_at timestamptz,
    CONSTRAINT case_pauses_of_a_rule CHECK ((kind = 'exception') = (rule IS NOT NULL)),
    CONSTRAINT case_pauses_give_a_reason CHECK (kind = 'snooze' OR reason IS NOT NULL)
);
CREATE INDEX case_pauses_of ON case_pauses (case_id, until);
COMMENT ON TABLE case_pauses IS
    'A row takes a case out of the queue until a day: snooze: later; known_and_fine: its facts are known and in order; '
    'exception: one of its rules does not count here. Written by the page of the case. Kept as the case.';
COMMENT ON COLUMN case_pauses.ended_at IS 'When a person ended it before its day; NULL: it ends by itself.';
