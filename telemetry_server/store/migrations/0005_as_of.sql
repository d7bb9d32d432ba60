-- By which time a job that forgets worked last: the next run goes a bounded step beyond it. And what was taken back.

ALTER TABLE jobs ADD COLUMN as_of timestamptz, ADD COLUMN found_at timestamptz, ADD COLUMN finding text;

COMMENT ON COLUMN jobs.as_of IS
    'The time by which the last good run of a job that forgets worked: a week beyond the run before at most.';
COMMENT ON COLUMN jobs.finding IS
    'What the job "take back future times" last took back, at found_at: times later than the clock.';

UPDATE jobs SET as_of = last_finished_at
WHERE name IN ('forget old pings', 'forget old counters', 'shorten addresses', 'empty quarantine', 'forget sessions',
               'forget deliveries');
