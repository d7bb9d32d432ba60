-- name: products_to_filter
-- Every product with the columns that filters name: its slug, whether it is simulated, and its time zone.
SELECT product_id, slug, simulated::text AS is_simulated, time_zone FROM products;
