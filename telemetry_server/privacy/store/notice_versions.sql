-- name: add_notice
INSERT INTO notices (version, language, text, sha256, valid_from, added_at, added_by)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
RETURNING version;

-- name: starts
-- Since when the version $1 is valid; no row: it is new.
SELECT valid_from FROM notices WHERE version = $1 LIMIT 1;

-- name: versions
-- All versions in all languages, without their texts; the newest first.
SELECT version, language, sha256, valid_from, added_at, added_by, length(text) AS characters
FROM notices
ORDER BY valid_from DESC, added_at DESC, version, language;

-- name: one
-- A version with its text: in the language $2, else in the one that was added first.
SELECT version, language, sha256, valid_from, added_at, added_by, length(text) AS characters, text
FROM notices
WHERE version = $1
ORDER BY language = $2 DESC, added_at
LIMIT 1;
