-- The comments of tables and views in plain words.

COMMENT ON COLUMN products.simulated IS
    'Its fleet was made by "telemetry-server simulate"; every page and export with its numbers says so.';
COMMENT ON COLUMN products.reschedule_after IS
    'Its schedule changed; the phases of its installations after this one are still to be recalculated. '
    'Set by "product change", advanced and cleared by the job "watch deadlines".';
COMMENT ON TABLE license_keys IS
    'A row is the hash that a license''s key has in pings of the product product_id: of its own product, and of '
    'each other product that existed when the key was added, so that a key used for the wrong product is known. '
    'Written with its license.';
COMMENT ON COLUMN installations.received IS
    'The sequence numbers received, almost always one range. A number in here is not counted again: this '
    'column is what makes each ping count exactly once.';
COMMENT ON COLUMN installation_facts.vm IS
    'Here and in container and cloud: "none" was not found. In every column: "unknown" was not reported.';
COMMENT ON COLUMN installation_facts.judge_again IS
    'Its key, life, environment or verdict changed: the seats of its license, and of counted_key_hash, the previous '
    'one, are to be counted again, and its verdict is to be decided from the current registry. Cleared by the '
    'job "judge installations".';
COMMENT ON COLUMN installation_facts.sequence IS
    'The newest ping whose news are in this row and in changes; state is the state it had. An installation in '
    'another state has news that are not recorded yet: the job "catch up" records them.';
COMMENT ON TABLE pings IS
    'A row is a ping that counts; what it reported of the machine is in states. Written by the writer before '
    'the upload is acknowledged; only its address changes later. A partition is a month by the server''s clock, made '
    'ahead by the job "make partitions" and dropped after the retention in fields.toml.';
COMMENT ON TABLE forks IS
    'A row is a ping with a number that another ping already had: two copies continued with one identity. The '
    'stored one is in pings. No accusation: a restored snapshot forks once. Kept as long as the installation.';
COMMENT ON TABLE installation_days IS
    'A row is an installation on a day (UTC, by its own clock unless that is far off): its last state and '
    'verdict of the day, its pings, the sums of its counters. Written by the job "roll up pings", which '
    'replaces it. A partition is a month; dropped after the retention of pings and of counters.';
COMMENT ON TABLE fleet_days IS
    'A row is the number of installations of a product that sent a ping on a day with that value of that dimension, '
    'and that verdict (empty: any verdict). The dimension "all" has one empty value. Written by the '
    'job "roll up days", which replaces a product''s day. Kept for ever: it holds no data of a person.';
COMMENT ON TABLE cohort_weeks IS
    'A row is, of the installations first seen in the week of the Monday cohort, the number that were seen, '
    'were lost and returned in the week of the Monday week (UTC). Written by the job "roll up cohorts", which '
    'replaces it. Kept for ever.';
COMMENT ON TABLE fleet_now IS
    'A row is the number of installations of a product that have that value of that dimension now and were last seen in '
    'that many of the ranges on the pages (0: longer ago than in any). Written by the job "count the fleet" where the '
    'fleet is large; empty where it is small: there the same statements count for each request. Replaced all the time.';
COMMENT ON COLUMN v_changes.sequence IS 'The ping that reported it; of a verdict or a life, the last before.';
COMMENT ON VIEW v_installation_days IS
    'Every installation on every day (UTC) that it sent a ping, as reported by the last one of the day.';
COMMENT ON COLUMN v_fleet_days.value IS 'Empty for the dimension all. other: the values too rare for a row of their own.';
COMMENT ON COLUMN v_fleet_days.verdict IS 'Empty: any verdict.';
COMMENT ON COLUMN v_feature_days.feature IS 'other: the features too rare for a row of their own.';
COMMENT ON VIEW v_cohort_weeks IS
    'Of the installations first seen in one week: how many were seen, lost and returned in another.';
COMMENT ON COLUMN v_cohort_weeks.active IS 'Seen in that week; in the week of the cohort, all new ones.';
