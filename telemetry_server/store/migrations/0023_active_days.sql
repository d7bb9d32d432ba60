-- The copies of each product at the end of each day, beside those that sent a ping on it. The job "count active copies"
-- counts the days that are stored, the newest first.

CREATE TABLE active_days (
    product_id      uuid   NOT NULL,
    day             date   NOT NULL,
    dimension       text   NOT NULL,
    value           text   NOT NULL,
    verdict         text   NOT NULL,
    installations   bigint NOT NULL CHECK (installations > 0),
    PRIMARY KEY (product_id, dimension, verdict, day, value)
);
CREATE INDEX active_days_of_day ON active_days (product_id, day);
COMMENT ON TABLE active_days IS
    'A row is the number of installations of a product at the end of a day (UTC) with that value of that dimension, and '
    'that verdict (empty: any verdict); without lost ones, except of the dimension life. Written by the job "count active '
    'copies", which replaces a product''s day. Kept for ever: it holds no data of a person.';
COMMENT ON COLUMN active_days.dimension IS
    'Beside those of fleet_days: life, hosting, claim_mismatch, source_mismatch; turned: new, returned and lost count the '
    'installations that became so on the day.';

CREATE TABLE feature_value_days (
    product_id    uuid    NOT NULL,
    day           date    NOT NULL,
    dimension     text    NOT NULL,
    value         text    NOT NULL,
    feature       text    NOT NULL,
    uses          numeric NOT NULL,
    installations bigint  NOT NULL CHECK (installations > 0),
    PRIMARY KEY (product_id, dimension, day, value, feature)
);
COMMENT ON TABLE feature_value_days IS
    'A row is how often a feature of a product was used on a day by the installations with that version, edition, verdict '
    'or life (the dimension), and by how many; feature is empty for all that sent a ping, so that shares can be '
    'calculated. Written by the job "count active copies", which replaces a product''s day. Kept for ever.';

CREATE TABLE active_due (
    product_id uuid        NOT NULL,
    day        date        NOT NULL,
    due_since  timestamptz NOT NULL,
    PRIMARY KEY (product_id, day)
);
COMMENT ON TABLE active_due IS
    'A row is a day of a product to be counted again in active_days: the present one, one that a late ping changed, one '
    'in which an installation became late or lost, as was found later. Written by the jobs "roll up pings", "watch '
    'deadlines" and "count active copies", removed by the last.';

CREATE VIEW v_active_days AS
SELECT d.day,
       p.slug                                   AS product,
       p.simulated,
       d.dimension,
       d.value,
       d.verdict,
       d.installations
FROM active_days AS d
JOIN products AS p USING (product_id);
COMMENT ON VIEW v_active_days IS
    'How many installations of a product there were at the end of a day (UTC), by value of a dimension and by verdict; '
    'lost ones only in the dimension life. Name one dimension and one verdict: each installation is counted in all of '
    'them. The last day goes on.';
COMMENT ON COLUMN v_active_days.dimension IS
    'Those of v_fleet_days; and life, turned, hosting, claim_mismatch, source_mismatch';
COMMENT ON COLUMN v_active_days.value IS
    'Empty for the dimension all. other: the values too rare for a row of their own. Of turned: new, returned or lost on '
    'that day.';
COMMENT ON COLUMN v_active_days.verdict IS 'Empty: any verdict.';
