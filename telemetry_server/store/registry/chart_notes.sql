-- name: notes_between
-- The notes from the day $1 to the day $2, the newest first: about the products $3, NULL: about any and about all.
SELECT n.note_id, n.day, n.note, n.author, p.slug AS product
FROM chart_notes AS n
LEFT JOIN products AS p USING (product_id)
WHERE n.day BETWEEN $1 AND $2 AND ($3::text[] IS NULL OR p.slug = ANY ($3))
ORDER BY n.day DESC, n.note_id DESC
LIMIT 100;

-- name: add_chart_note
-- A new note about the product of the slug $3, NULL: about all; unless there is no such product, or there are $7 notes.
INSERT INTO chart_notes (note_id, day, product_id, note, author, written_at)
SELECT $1, $2, (SELECT p.product_id FROM products AS p WHERE p.slug = $3), $4, $5, $6
WHERE ($3::text IS NULL OR EXISTS (SELECT 1 FROM products AS p WHERE p.slug = $3))
  AND (SELECT count(*) FROM chart_notes) < $7
RETURNING note_id;

-- name: change_chart_note
-- Another day and text of the note $1, if it is about one of the products $4, NULL: about any or all.
UPDATE chart_notes SET day = $2, note = $3
WHERE note_id = $1
  AND ($4::text[] IS NULL OR product_id IN (SELECT p.product_id FROM products AS p WHERE p.slug = ANY ($4)))
RETURNING note_id;

-- name: delete_chart_note
-- Deletes the note $1, if it is about one of the products $2, NULL: about any or all.
DELETE FROM chart_notes
WHERE note_id = $1
  AND ($2::text[] IS NULL OR product_id IN (SELECT p.product_id FROM products AS p WHERE p.slug = ANY ($2)))
RETURNING note_id;
