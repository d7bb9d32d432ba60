-- Restrictions: subjects whose data no one but the privacy officer sees.

CREATE TABLE restrictions (
    restriction_id uuid        PRIMARY KEY,
    subject_kind   text        NOT NULL CHECK (subject_kind IN ('installation', 'customer')),
    subject        uuid        NOT NULL,
    begun_at       timestamptz NOT NULL,
    begun_by       text        NOT NULL CHECK (length(begun_by) BETWEEN 1 AND 300),
    reason         text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    hides          text[]      NOT NULL DEFAULT '{}',
    ended_at       timestamptz,
    ended_by       text        CHECK (length(ended_by) BETWEEN 1 AND 300),
    end_reason     text        CHECK (length(end_reason) BETWEEN 1 AND 1000)
);
CREATE UNIQUE INDEX restrictions_in_force ON restrictions (subject) WHERE ended_at IS NULL;
COMMENT ON TABLE restrictions IS
    'A row is a restriction: until it ends, people without the permission "privacy" see nothing of the subject. Written by '
    '"privacy restrict" and the page "Holds and restrictions". Kept for ever.';
COMMENT ON COLUMN restrictions.hides IS 'The ids and the e-mail that name the subject, in lower case: texts with one of them are hidden.';

CREATE TABLE restricted_installations (
    installation_id uuid        PRIMARY KEY,
    since           timestamptz NOT NULL
);
COMMENT ON TABLE restricted_installations IS
    'A row is an installation that is restricted itself, or by its customer. Written with a restriction, and by the job "carry out '
    'erasures" for installations that came later.';
