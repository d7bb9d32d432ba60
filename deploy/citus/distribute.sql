-- Distributes the tables that grow with the fleet over a Citus cluster (12 or newer). Run it once, after
-- "telemetry-server migrate", on the coordinator, while no server runs. The software and its SQL are unchanged.
--
-- All rows of one installation are on one shard: its history, its export and its erasure are local.

SELECT create_reference_table('products');
SELECT create_distributed_table('installations', 'installation_id');
SELECT create_distributed_table('states', 'installation_id', colocate_with => 'installations');
SELECT create_distributed_table('installation_facts', 'installation_id', colocate_with => 'installations');
SELECT create_distributed_table('changes', 'installation_id', colocate_with => 'installations');
SELECT create_distributed_table('installation_days', 'installation_id', colocate_with => 'installations');
SELECT create_distributed_table('pings', 'installation_id', colocate_with => 'installations');
SELECT create_distributed_table('forks', 'installation_id', colocate_with => 'installations');
SELECT create_distributed_table('lineage', 'installation_id', colocate_with => 'installations');
SELECT create_distributed_table('quarantine', 'installation_id', colocate_with => 'installations');
