-- What the rules of the investigations saw, and the cases that people work on.

CREATE TABLE findings (
    finding_id   uuid             PRIMARY KEY,
    product_id   uuid             NOT NULL REFERENCES products ON DELETE CASCADE,
    rule         text             NOT NULL CHECK (rule ~ '^[a-z][a-z0-9_]{0,62}$'),
    family       text             NOT NULL CHECK (family ~ '^[a-z]{1,32}$'),
    subject_kind text             NOT NULL CHECK (subject_kind IN ('installation', 'key', 'license', 'network')),
    subject_id   text             NOT NULL CHECK (length(subject_id) BETWEEN 1 AND 300),
    strength     double precision NOT NULL CHECK (strength BETWEEN 0 AND 1),
    first_seen   timestamptz      NOT NULL,
    last_seen    timestamptz      NOT NULL,
    evidence     jsonb            NOT NULL CHECK (jsonb_typeof(evidence) = 'object'),
    unscored     text             CHECK (unscored IN ('experimental', 'environment', 'allowed network')),
    opened_at    timestamptz      NOT NULL,
    closed_at    timestamptz,
    closed_why   text             CHECK (length(closed_why) BETWEEN 1 AND 300),
    CONSTRAINT findings_are_closed_for_a_reason CHECK ((closed_at IS NULL) = (closed_why IS NULL)),
    CONSTRAINT findings_begin_before_they_end CHECK (first_seen <= last_seen)
);
CREATE UNIQUE INDEX findings_open_is_unique ON findings (product_id, rule, subject_id) WHERE closed_at IS NULL;
CREATE INDEX findings_of_subject ON findings (subject_id, opened_at);
COMMENT ON TABLE findings IS
    'A row is what a rule of the investigations saw of a subject, from opened_at to closed_at. A lead, no accusation. Written '
    'by the job "find suspicions", which closes it when its facts are gone; if they come back, that is another row. Kept for '
    'ever; one of an erased installation is deleted by the same job.';
COMMENT ON COLUMN findings.subject_id IS
    'The id of the installation or the license; the hash of the key in hex; the network.';
COMMENT ON COLUMN findings.evidence IS
    'installations: the ids of those it rests on, 500 at most; parameters: what the rule was bound to; and the facts of the rule.';
COMMENT ON COLUMN findings.unscored IS 'Why it counts for nothing in the score of its case; NULL: it counts.';

CREATE TABLE cases (
    case_id         uuid        PRIMARY KEY,
    product_id      uuid        NOT NULL REFERENCES products ON DELETE CASCADE,
    subject_kind    text        NOT NULL
        CHECK (subject_kind IN ('customer', 'license', 'key', 'organisation', 'network', 'installation')),
    subject_id      text        NOT NULL CHECK (length(subject_id) BETWEEN 1 AND 300),
    name            text        NOT NULL CHECK (length(name) BETWEEN 1 AND 300),
    state           text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'waiting', 'decided', 'reopened')),
    wait_until      timestamptz,
    owner           text        CHECK (length(owner) BETWEEN 1 AND 300),
    decision        text        CHECK (length(decision) BETWEEN 1 AND 64),
    decision_reason text        CHECK (length(decision_reason) BETWEEN 1 AND 2000),
    score           double precision NOT NULL CHECK (score BETWEEN 0 AND 1),
    waterfall       jsonb       NOT NULL CHECK (jsonb_typeof(waterfall) = 'object'),
    first_seen      timestamptz NOT NULL,
    last_seen       timestamptz NOT NULL,
    opened_at       timestamptz NOT NULL,
    merged_into     uuid        REFERENCES cases ON DELETE CASCADE CHECK (merged_into <> case_id)
);
CREATE UNIQUE INDEX cases_subject_is_unique ON cases (product_id, subject_kind, subject_id);
CREATE INDEX cases_by_score ON cases (product_id, score DESC, case_id);
COMMENT ON TABLE cases IS
    'A row is the findings about one customer, license, key, organisation, network or installation, which people work on. '
    'Written by the job "find suspicions" (score, waterfall, first_seen, last_seen), and by people. Kept for ever.';
COMMENT ON COLUMN cases.score IS
    'The share of misuse among simulated cases with the same evidence, from 0 to 1; 0 where all findings are closed.';
COMMENT ON COLUMN cases.waterfall IS
    'How the score came about: prior and steps of evidence, each in log2, and their sum.';
COMMENT ON COLUMN cases.merged_into IS 'The case that has its findings now; NULL: its own.';

CREATE TABLE case_findings (
    case_id    uuid        NOT NULL REFERENCES cases ON DELETE CASCADE,
    finding_id uuid        NOT NULL REFERENCES findings ON DELETE CASCADE,
    added_at   timestamptz NOT NULL,
    removed_at timestamptz,
    PRIMARY KEY (case_id, finding_id, added_at)
);
CREATE INDEX case_findings_of ON case_findings (finding_id);
COMMENT ON TABLE case_findings IS
    'A row is a finding in a case, from added_at to removed_at; NULL: still. Written by the job "find suspicions", and where '
    'people merge and split cases. Kept as the case.';

CREATE TABLE case_history (
    history_id uuid        PRIMARY KEY,
    case_id    uuid        NOT NULL REFERENCES cases ON DELETE CASCADE,
    at         timestamptz NOT NULL,
    by         text        NOT NULL CHECK (length(by) BETWEEN 1 AND 300),
    what       jsonb       NOT NULL CHECK (jsonb_typeof(what) = 'object')
);
CREATE INDEX case_history_of ON case_history (case_id, at);
COMMENT ON TABLE case_history IS
    'A row is what happened to a case: opened, findings added and closed, and what people did. Written with each. Kept as the case.';
COMMENT ON COLUMN case_history.by IS 'A person, a program, or a job.';
