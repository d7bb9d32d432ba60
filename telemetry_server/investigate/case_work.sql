-- name: lock
SELECT case_id, name, state, wait_until, owner, decision, decision_reason, merged_into, product_id, first_seen
FROM cases
WHERE case_id = $1
FOR UPDATE;

-- name: target_of
-- The case that the case $1 was merged into.
SELECT merged_into FROM cases WHERE case_id = $1;

-- name: set_state
UPDATE cases SET state = $2, wait_until = $3 WHERE case_id = $1;

-- name: set_owner
UPDATE cases SET owner = $2 WHERE case_id = $1;

-- name: decide
UPDATE cases SET state = 'decided', wait_until = NULL, decision = $2, decision_reason = $3 WHERE case_id = $1;

-- name: merge
UPDATE cases SET merged_into = $2 WHERE case_id = $1;

-- name: leave
-- Takes findings out of a case.
UPDATE case_findings SET removed_at = $3
WHERE case_id = $1 AND removed_at IS NULL AND ($2::uuid[] IS NULL OR finding_id = ANY ($2))
RETURNING finding_id;

-- name: join
INSERT INTO case_findings (case_id, finding_id, added_at)
SELECT $1, n.finding_id, $3 FROM unnest($2::uuid[]) AS n (finding_id)
WHERE NOT EXISTS (
    SELECT m.finding_id FROM case_findings AS m
    WHERE m.case_id = $1 AND m.finding_id = n.finding_id AND m.removed_at IS NULL
);

-- name: merge_of
-- What was moved when the case $1 was last merged.
SELECT what -> 'merged' ->> 'findings' AS findings
FROM case_history
WHERE case_id = $1 AND what ? 'merged'
ORDER BY at DESC, history_id DESC
LIMIT 1;

-- name: record
INSERT INTO case_history (history_id, case_id, at, by, what) VALUES ($1, $2, $3, $4, $5::jsonb);

-- name: pause
INSERT INTO case_pauses (pause_id, case_id, kind, rule, until, reason, begun_at, begun_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: end_pause
UPDATE case_pauses SET ended_at = $3
WHERE case_id = $1 AND pause_id = $2 AND ended_at IS NULL AND until > $3
RETURNING kind, rule;

-- name: attach
INSERT INTO case_attachments (attachment_id, case_id, added_at, added_by, name, content) VALUES ($1, $2, $3, $4, $5, $6);

-- name: count_attachments
SELECT count(*) FROM case_attachments WHERE case_id = $1;

-- name: detach
DELETE FROM case_attachments WHERE case_id = $1 AND attachment_id = $2 RETURNING name;

-- name: hand_over
INSERT INTO case_handovers (handover_id, case_id, exported_at, actor, purpose, redaction, rows, sha256, statement)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: people_named
-- The e-mails of those of $1 that are active people.
SELECT lower(email) AS email FROM people WHERE lower(email) = ANY ($1::text[]) AND deactivated_at IS NULL;
