-- name: try_lock
-- False where another process holds the lock.
SELECT pg_try_advisory_lock($1);

-- name: unlock
SELECT pg_advisory_unlock($1);

-- name: last_good_start
-- When the job last started, if that run ended without an error.
SELECT last_started_at FROM jobs WHERE name = $1 AND last_error IS NULL AND last_finished_at >= last_started_at;

-- name: job_started
INSERT INTO jobs (name, last_started_at) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET last_started_at = excluded.last_started_at;

-- name: job_ended
-- A good run ends no earlier than it starts: the start is by the server's clock, and the database's may be behind.
UPDATE jobs
SET last_finished_at = CASE WHEN $2::text IS NULL THEN greatest(clock_timestamp(), last_started_at)
                            ELSE last_finished_at END,
    last_error = $2
WHERE name = $1;

-- name: all_jobs
SELECT name, last_started_at, last_finished_at, last_error FROM jobs ORDER BY name;

-- name: failing_jobs
-- The jobs whose last run, begun since $1, failed.
SELECT name FROM jobs WHERE last_error IS NOT NULL AND last_started_at >= $1 ORDER BY name;
