-- name: products_to_filter
-- Every product as filters name them: by slug, or as made up.
SELECT product_id, slug, simulated::text AS is_simulated FROM products;
