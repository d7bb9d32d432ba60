-- name: owners
-- The customer of each license.
SELECT license_id, customer_id FROM licenses WHERE customer_id IS NOT NULL;

-- name: licenses_by_value
-- The licenses in use under each value of the dimension $1: by copies that report, of products that are real.
SELECT DISTINCT v.value, f.license_id
FROM installation_facts AS f
JOIN products AS p ON p.product_id = f.product_id
CROSS JOIN LATERAL (
    VALUES ('total', 'all'),
           ('product', p.name),
           ('version', p.name || ' ' || f.version),
           ('edition', p.name || ' ' || f.edition),
           ('country', f.country),
           ('os', f.os_name)
) AS v (dimension, value)
WHERE v.dimension = $1 AND NOT p.simulated AND f.life <> 'lost' AND f.license_id IS NOT NULL;

-- name: keep
-- The figures of the week $1.
INSERT INTO public_figures (released_on, dimension, value, customers, drawn_on)
SELECT $1, f.dimension, f.value, f.customers, f.drawn_on
FROM unnest($2::text[], $3::text[], $4::int[], $5::date[]) AS f (dimension, value, customers, drawn_on)
ON CONFLICT DO NOTHING;

-- name: last_release
-- The week of the newest release; null before the first.
SELECT max(released_on) FROM public_figures;

-- name: figures
-- The figures of the week $1.
SELECT dimension, value, customers, drawn_on
FROM public_figures
WHERE released_on = $1
ORDER BY dimension, customers DESC, value;
