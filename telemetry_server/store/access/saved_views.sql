-- name: views_for
-- The views of the person $1 and those of everyone, by name.
SELECT view_id, name, address, shared, created_by, coalesce(person_id = $1, false) AS mine
FROM saved_views
WHERE person_id = $1 OR shared
ORDER BY lower(name), view_id
LIMIT 200;

-- name: save_view
-- A new view, unless there are $8 of its kind already: of its person, or shared ones.
INSERT INTO saved_views (view_id, name, address, shared, person_id, created_by, created_at)
SELECT $1, $2, $3, $4, $5, $6, $7
WHERE (SELECT count(*) FROM saved_views AS v WHERE v.shared = $4 AND (v.shared OR v.person_id = $5)) < $8
RETURNING view_id;

-- name: change_view
-- Renames the view $1 and sets who sees it, if it is of the person $4, or shared and $5. One without a person stays shared.
UPDATE saved_views SET name = $2, shared = $3 OR person_id IS NULL
WHERE view_id = $1 AND (person_id = $4 OR (shared AND $5))
RETURNING view_id;

-- name: delete_view
-- Deletes the view $1, if it is of the person $2, or shared and $3.
DELETE FROM saved_views
WHERE view_id = $1 AND (person_id = $2 OR (shared AND $3))
RETURNING view_id;
