-- name: remember_import
-- What the rows of this import were about, so that no two of them say different things. On disk where
-- memory is short, gone with the connection.
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
-- Gives those subjects that earlier rows of the import were about, and what was remembered of these.
WITH row AS MATERIALIZED (
    SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) AS r (subject, line, digest)
), added AS (
    INSERT INTO imported SELECT * FROM row ON CONFLICT (subject) DO NOTHING
)
SELECT i.subject, i.line, i.digest FROM imported AS i WHERE i.subject IN (SELECT subject FROM row);
