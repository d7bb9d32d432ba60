-- Requests of those whom data is about, each with its due date and its history.

CREATE TABLE subject_requests (
    request_id   uuid        PRIMARY KEY,
    kind         text        NOT NULL CHECK (kind IN ('access', 'rectification', 'erasure', 'restriction', 'objection', 'portability')),
    subject_kind text        NOT NULL CHECK (subject_kind IN ('installation', 'customer')),
    subject      uuid        NOT NULL,
    purpose      text        CHECK (length(purpose) BETWEEN 1 AND 64),
    received_on  date        NOT NULL,
    filed_at     timestamptz NOT NULL,
    filed_by     text        NOT NULL CHECK (length(filed_by) BETWEEN 1 AND 300),
    due_on       date        NOT NULL,
    extended     boolean     NOT NULL DEFAULT false,
    owner        text        CHECK (length(owner) BETWEEN 1 AND 300),
    state        text        NOT NULL CHECK (state IN ('open', 'waiting', 'answered', 'refused')),
    closed_at    timestamptz,
    CHECK ((closed_at IS NULL) = (state IN ('open', 'waiting')))
);
CREATE INDEX subject_requests_unanswered ON subject_requests (due_on) WHERE closed_at IS NULL;
CREATE INDEX subject_requests_of ON subject_requests (subject);
COMMENT ON TABLE subject_requests IS
    'A row is a request of a data subject. Written by "privacy request", the page "Requests", and by what installations and '
    'customers ask for themselves. Removed three years after it was closed.';
COMMENT ON COLUMN subject_requests.subject IS 'The id of the installation or the customer, also after its erasure: a random number then.';
COMMENT ON COLUMN subject_requests.purpose IS 'Of an objection: the purpose of the field registry that it is against.';
COMMENT ON COLUMN subject_requests.due_on IS 'A calendar month after it was received; three, once it was extended.';
COMMENT ON COLUMN subject_requests.state IS 'waiting: for the person, such as for a proof of identity.';

CREATE TABLE subject_request_steps (
    request_id uuid        NOT NULL REFERENCES subject_requests ON DELETE CASCADE,
    step_id    uuid        NOT NULL,
    at         timestamptz NOT NULL,
    by         text        NOT NULL CHECK (length(by) BETWEEN 1 AND 300),
    step       text        NOT NULL CHECK (step IN ('filed', 'owner', 'extended', 'open', 'waiting', 'answered', 'refused', 'done')),
    note       text        CHECK (length(note) BETWEEN 1 AND 1000),
    details    jsonb       NOT NULL DEFAULT '{}',
    PRIMARY KEY (request_id, step_id)
);
COMMENT ON TABLE subject_request_steps IS
    'A row is a step in the history of a request. Kept as its request; notes and details go when the subject is erased.';
COMMENT ON COLUMN subject_request_steps.note IS 'The reason of an extension, the ground of a refusal, or a remark.';
COMMENT ON COLUMN subject_request_steps.details IS 'What was done: the fields before and after a correction, the level of an objection, the rows of an access.';
