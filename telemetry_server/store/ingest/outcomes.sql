-- name: add_counts
-- Adds what one process counted since its last call.
INSERT INTO ingest_counts AS c (day, product_id, outcome, count)
SELECT * FROM unnest($1::date[], $2::uuid[], $3::text[], $4::bigint[])
ON CONFLICT (day, product_id, outcome) DO UPDATE SET count = c.count + excluded.count;
