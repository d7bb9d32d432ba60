-- name: released_between
-- The releases of the product $1 from the day $2 to the day $3, the oldest first.
SELECT r.version, r.released_on
FROM releases AS r
JOIN products AS p USING (product_id)
WHERE p.slug = $1 AND r.released_on BETWEEN $2 AND $3
ORDER BY r.released_on, r.version;
