-- name: remember_import
-- The subjects of the rows of this import, to find rows that contradict each other. A temporary table: it moves to
-- disk when it grows, and ends with the connection.
CREATE TEMPORARY TABLE IF NOT EXISTS imported (
    subject bytea  PRIMARY KEY,
    line    bigint NOT NULL,
    digest  bytea  NOT NULL
);

-- name: forget_import
TRUNCATE imported;

-- name: forget_rows
DELETE FROM imported WHERE subject = ANY ($1::bytea[]);

-- name: remember_rows
-- Adds new subjects; returns those that earlier rows of the import were about, as stored.
WITH row AS MATERIALIZED (
    SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) AS r (subject, line, digest)
), added AS (
    INSERT INTO imported SELECT * FROM row ON CONFLICT (subject) DO NOTHING
)
SELECT i.subject, i.line, i.digest FROM imported AS i WHERE i.subject IN (SELECT subject FROM row);
