-- name: admit
-- Charges the bucket $1 at $2 for one attempt of the cost $3, unless that would exceed the burst $4; returns a row where
-- it did. A time beyond the burst is from a clock that was ahead, and counts as free.
INSERT INTO sign_in_attempts AS a (bucket, free_at)
VALUES ($1, $2::timestamptz + $3::interval)
ON CONFLICT (bucket) DO UPDATE
SET free_at = CASE WHEN a.free_at > $2::timestamptz + $4::interval THEN $2::timestamptz
                   ELSE greatest(a.free_at, $2::timestamptz) END + $3::interval
WHERE a.free_at > $2::timestamptz + $4::interval
   OR greatest(a.free_at, $2::timestamptz) + $3::interval <= $2::timestamptz + $4::interval
RETURNING free_at;

-- name: free_at
-- When the bucket is free.
SELECT free_at FROM sign_in_attempts WHERE bucket = $1;

-- name: give_back
-- Takes back one attempt of the cost $2.
UPDATE sign_in_attempts SET free_at = free_at - $2::interval WHERE bucket = $1;

-- name: forget_attempts
-- Deletes buckets that were free before $1.
DELETE FROM sign_in_attempts WHERE free_at <= $1;
