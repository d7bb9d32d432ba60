-- name: on_citus
-- First on each connection; does nothing on one machine. On a cluster each statement is planned for its parameters,
-- which say in which shards its rows are. The driver asks for types, which takes seconds where Citus hides shards from
-- the catalogue.
SELECT set_config('plan_cache_mode', 'force_custom_plan', false),
       set_config('citus.show_shards_for_app_name_prefixes', '*', false)
FROM pg_extension
WHERE extname = 'citus';

-- name: find_one_by_one
-- Until the transaction ends, the rows of a list are found and locked one by one, in its order.
SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('enable_seqscan', 'off', true);
