-- name: reached
-- The watermark of a job; no row before its first run.
SELECT reached_at FROM rollup_marks WHERE name = $1;

-- name: reach
INSERT INTO rollup_marks (name, reached_at) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET reached_at = excluded.reached_at;
