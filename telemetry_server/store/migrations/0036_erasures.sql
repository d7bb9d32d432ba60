-- Erasures: what was erased, the refusal of what comes late, and the counts that stay right without it.

CREATE TABLE erasures (
    erasure_id    uuid        PRIMARY KEY,
    asked_at      timestamptz NOT NULL,
    asked_by      text        NOT NULL CHECK (length(asked_by) BETWEEN 1 AND 300),
    reason        text        CHECK (length(reason) BETWEEN 1 AND 1000),
    subject_kind  text        NOT NULL CHECK (subject_kind IN ('installation', 'customer')),
    subject       text        NOT NULL CHECK (length(subject) BETWEEN 1 AND 64),
    installations bigint      NOT NULL CHECK (installations >= 0),
    done_at       timestamptz,
    backups_until date,
    certificate   text
);
CREATE INDEX erasures_waiting ON erasures (asked_at) WHERE done_at IS NULL;
COMMENT ON TABLE erasures IS
    'A row is an erasure that was asked for by an installation, or by a person with "privacy erase" or the page "Privacy". '
    'Carried out at once, or by the job "carry out erasures". Kept for ever: it proves the erasure.';
COMMENT ON COLUMN erasures.subject IS
    'The id of the installation; of a customer the id too: a random number that refers to nothing any more.';
COMMENT ON COLUMN erasures.backups_until IS 'The day until which a backup may still have the data.';
COMMENT ON COLUMN erasures.certificate IS 'The certificate, signed with the key of the audit log.';

CREATE TABLE erased_installations (
    installation_id uuid        PRIMARY KEY,
    erasure_id      uuid        NOT NULL,
    asked_at        timestamptz NOT NULL,
    done_at         timestamptz
);
CREATE INDEX erased_installations_of ON erased_installations (erasure_id);
COMMENT ON TABLE erased_installations IS
    'A row is an installation that is erased: an upload that comes late is answered with 410 and not stored. Written '
    'before the data is deleted. Kept for ever: a copy may come back after years.';

CREATE TABLE erased_counts (
    product_id    uuid    NOT NULL,
    roll_up       text    NOT NULL CHECK (roll_up IN ('fleet', 'features', 'active', 'feature_values', 'cohorts')),
    day           date    NOT NULL,
    dimension     text    NOT NULL,
    value         text    NOT NULL,
    verdict       text    NOT NULL,
    feature       text    NOT NULL,
    installations bigint  NOT NULL CHECK (installations > 0),
    amount        numeric NOT NULL,
    PRIMARY KEY (product_id, roll_up, day, dimension, value, verdict, feature)
);
COMMENT ON TABLE erased_counts IS
    'A row is how many erased installations are counted in a cell of a roll-up: a day that is counted again keeps its '
    'numbers. It names no installation. Written with each erasure. Kept for ever, as the roll-ups are.';
COMMENT ON COLUMN erased_counts.roll_up IS
    'fleet: fleet_days. features: feature_days. active: active_days. feature_values: feature_value_days. cohorts: '
    'cohort_weeks, of which day is the week, value the cohort, and dimension active, lost or returned.';
COMMENT ON COLUMN erased_counts.amount IS 'Their pings, or their uses of the feature.';
