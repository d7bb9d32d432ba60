-- name: add_note
-- A new note on an existing customer.
INSERT INTO customer_notes (note_id, customer_id, written_at, author, note)
SELECT $1, c.customer_id, $3, $4, $5 FROM customers AS c WHERE c.customer_id = $2
RETURNING note_id;

-- name: notes_of
-- The notes on a customer, the newest first.
SELECT note_id, written_at, author, note
FROM customer_notes
WHERE customer_id = $1
ORDER BY written_at DESC, note_id DESC
LIMIT $2;
