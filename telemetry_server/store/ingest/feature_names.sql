-- name: generation
-- The names that are read later have the numbers of this generation, or of a later one.
SELECT names_generation();

-- name: generation_to_write
-- The same where another node writes the pings, and whether this one may write.
SELECT names_generation() AS generation, current_setting('transaction_read_only')::boolean AS read_only;

-- name: all_names
SELECT name, number FROM feature_names;

-- name: number_names
-- The numbers of the names $2. Those without one get the next numbers, as long as the product $1 has fewer than $3;
-- beyond, the number is NULL. A name that another process is adding now is missing: the next call finds it.
WITH asked AS MATERIALIZED (
    SELECT a.name, n.number
    FROM unnest($2::text[]) AS a (name)
    LEFT JOIN feature_names AS n ON n.name = a.name
), present AS MATERIALIZED (
    SELECT coalesce(max(number), -1) AS last, count(*) FILTER (WHERE product_id = $1) AS of_product FROM feature_names
), fresh AS MATERIALIZED (
    SELECT a.name, p.last + a.place AS number, p.of_product + a.place <= $3 AND p.last + a.place <= 32767 AS fits
    FROM (SELECT name, row_number() OVER (ORDER BY name) AS place FROM asked WHERE number IS NULL) AS a
    CROSS JOIN present AS p
), added AS (
    INSERT INTO feature_names (number, name, json_key, product_id)
    SELECT number, name, to_json(name)::text || ':', $1 FROM fresh WHERE fits ORDER BY number
    ON CONFLICT DO NOTHING
    RETURNING name, number
)
SELECT name, number FROM asked WHERE number IS NOT NULL
UNION ALL
SELECT name, number FROM added
UNION ALL
SELECT name, NULL FROM fresh WHERE NOT fits;
