-- name: add
INSERT INTO disclosures (
    disclosure_id, disclosed_at, recorded_at, recorded_by, recipient, subject_kind, subject, subjects, fields, ground, duty
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: add_use_of_token
-- Of a token that is bound to a purpose; of others none.
INSERT INTO disclosures (
    disclosure_id, disclosed_at, recorded_at, recorded_by, recipient, subjects, fields, ground, duty, token_id
)
SELECT $2, $3, $3, $4, p.recipient, $5, $6, p.ground, p.purpose, p.token_id
FROM token_purposes AS p
WHERE p.token_id = $1;

-- name: bind_token
INSERT INTO token_purposes (token_id, recipient, purpose, ground) VALUES ($1, $2, $3, $4);

-- name: disclosures
-- The newest first.
SELECT disclosure_id, disclosed_at, recorded_at, recorded_by, recipient, subject_kind, subject, subjects, fields, ground, duty,
       token_id
FROM disclosures
WHERE disclosed_at >= $1 AND disclosed_at < $2
ORDER BY disclosed_at DESC, disclosure_id DESC
LIMIT $3;
