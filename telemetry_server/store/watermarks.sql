-- name: reached
-- Up to when a job has seen the pings; nothing before its first run.
SELECT reached_at FROM rollup_marks WHERE name = $1;

-- name: reach
INSERT INTO rollup_marks (name, reached_at) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET reached_at = excluded.reached_at;
