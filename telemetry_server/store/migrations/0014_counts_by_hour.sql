-- New installations of a large fleet are counted by the hour, too, and its ranges begin exactly as long ago as they
-- say: what was counted otherwise is counted anew by the next run of the job.

DELETE FROM fleet_now;
DELETE FROM rollup_marks WHERE name = 'count the fleet';
COMMENT ON TABLE fleet_now IS
    'A row is how many installations of a product have that value of that dimension now and were last seen in so many '
    'of the ranges people choose from (0: longer ago than in any). Written by the job "count the fleet" where the '
    'fleet is large; empty where it is small: there the same statements count for each question. Replaced all the time.';
COMMENT ON COLUMN fleet_now.dimension IS
    'Beside those of fleet_days: life and the flags, as in the filter language; with_missing and with_lost '
    '(installations), missing and lost (pings); new (depth is that of the first ping), new_on and new_in (value is its '
    'day, its hour) and pings_in (pings received in the hour of value).';
