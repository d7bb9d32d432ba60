-- name: products_to_filter
-- Every product as filters name them, by slug or as made up, and the time zone of its days.
SELECT product_id, slug, simulated::text AS is_simulated, time_zone FROM products;
