-- name: file
INSERT INTO subject_requests (
    request_id, kind, subject_kind, subject, purpose, received_on, filed_at, filed_by, due_on, state
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'open');

-- name: add_step
INSERT INTO subject_request_steps (request_id, step_id, at, by, step, note, details)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb);

-- name: one
SELECT request_id, kind, subject_kind, subject, purpose, received_on, filed_at, filed_by, due_on, extended, owner, state,
       closed_at
FROM subject_requests
WHERE request_id = $1;

-- name: lock
SELECT state FROM subject_requests WHERE request_id = $1 FOR UPDATE;

-- name: steps
SELECT step_id, at, by, step, note, details::text AS details
FROM subject_request_steps
WHERE request_id = $1
ORDER BY at, step_id;

-- name: unanswered
-- What is due first comes first.
SELECT request_id, kind, subject_kind, subject, purpose, received_on, filed_at, filed_by, due_on, extended, owner, state,
       closed_at
FROM subject_requests
WHERE closed_at IS NULL
ORDER BY due_on, request_id
LIMIT $1;

-- name: closed
-- The newest first.
SELECT request_id, kind, subject_kind, subject, purpose, received_on, filed_at, filed_by, due_on, extended, owner, state,
       closed_at
FROM subject_requests
WHERE closed_at IS NOT NULL
ORDER BY closed_at DESC, request_id
LIMIT $1;

-- name: due
-- The number of unanswered requests that are overdue on the day $1, and of those due until $2.
SELECT count(*) FILTER (WHERE due_on < $1) AS overdue, count(*) FILTER (WHERE due_on >= $1 AND due_on <= $2) AS soon
FROM subject_requests
WHERE closed_at IS NULL;

-- name: unanswered_of
-- The unanswered requests of that kind about a subject.
SELECT request_id FROM subject_requests WHERE subject = $1 AND kind = $2 AND closed_at IS NULL ORDER BY request_id;

-- name: set_owner
UPDATE subject_requests SET owner = $2 WHERE request_id = $1;

-- name: extend
UPDATE subject_requests SET extended = true, due_on = $2 WHERE request_id = $1 AND NOT extended RETURNING request_id;

-- name: set_state
UPDATE subject_requests SET state = $2, closed_at = $3 WHERE request_id = $1;

-- name: forget_words
-- What the history of the subjects $1 says of them.
UPDATE subject_request_steps AS s SET note = NULL, details = '{}'
FROM subject_requests AS r
WHERE r.request_id = s.request_id AND r.subject = ANY ($1::uuid[]);

-- name: forget
WITH done AS (DELETE FROM subject_requests WHERE closed_at < $1 RETURNING 1) SELECT count(*) FROM done;

-- name: names
-- What the customers $1 are called.
SELECT customer_id, coalesce(company, name, email) AS name FROM customers WHERE customer_id = ANY ($1::uuid[]);
