-- name: in_force
-- Whether any subject is restricted, and whether the views that hide it are there.
SELECT EXISTS (SELECT FROM restrictions WHERE ended_at IS NULL) AS restricted,
       to_regnamespace($1::text) IS NOT NULL AS ready;

-- name: known
-- Whether the views are there, the digest that they were made with, and whether there is a table of restrictions.
SELECT to_regnamespace($1::text) IS NOT NULL AS ready,
       obj_description(to_regnamespace($1::text), 'pg_namespace') AS digest,
       to_regclass('restrictions') IS NOT NULL AS may_restrict;

-- name: any_restricted
SELECT EXISTS (SELECT FROM restrictions WHERE ended_at IS NULL);

-- name: hide
-- From now on, unqualified names are those of the views where there is one.
SELECT set_config('search_path', $1::text || ', ' || current_setting('search_path'), false);

-- name: tables
-- Those of the tables and views $1 that there are, and their schema.
SELECT c.relname AS name, quote_ident(n.nspname) AS schema
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = ANY ($1::text[]) AND n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v');
