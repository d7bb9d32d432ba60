-- name: has_citus
-- Whether this database has the extension.
SELECT EXISTS (SELECT extname FROM pg_extension WHERE extname = 'citus');

-- name: tables
-- The tables that have to be placed, in the order in which that is done, of which $1 are copied to every node: how each
-- is placed (NULL: an ordinary table), its size on this node, and whether it has rows here.
-- A table with the column installation_id grows with the fleet.
SELECT c.relname::text AS table, k.grows, p.kind, s.bytes, s.filled, c.relkind = 'p' AS parted
FROM pg_class AS c
CROSS JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attname = 'installation_id' AND NOT a.attisdropped
    ) AS grows
) AS k
LEFT JOIN (
    SELECT logicalrelid AS oid,
           CASE WHEN partmethod = 'h' THEN 'distributed' WHEN repmodel = 't' THEN 'reference' END AS kind
    FROM pg_dist_partition
) AS p ON p.oid = c.oid
CROSS JOIN LATERAL (
    SELECT sum(pg_total_relation_size(t.oid))::bigint AS bytes, sum(pg_relation_size(t.oid)) > 0 AS filled
    FROM (SELECT c.oid UNION SELECT relid FROM pg_partition_tree(c.oid)) AS t
) AS s
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname !~ '_\d{6,}$' -- a shard, or what is left of one for a while
  AND (k.grows OR c.relname = ANY ($1::text[]))
ORDER BY k.grows, c.relname <> 'installations', s.bytes, c.relname;

-- name: nodes
-- The nodes, the coordinator first: their shards of installations, and whether they answer.
SELECT n.nodename AS host, n.nodeport AS port, n.groupid = 0 AS is_coordinator, n.isactive AS is_active,
       count(s.shardid) AS shards
FROM pg_dist_node AS n
LEFT JOIN pg_dist_placement AS q USING (groupid)
LEFT JOIN pg_dist_shard AS s
  ON s.shardid = q.shardid AND s.logicalrelid = to_regclass('installations') AND s.shardminvalue IS NOT NULL
WHERE n.noderole = 'primary'
GROUP BY n.nodename, n.nodeport, n.groupid, n.isactive
ORDER BY n.groupid;

-- name: unhealthy
-- The pairs of nodes of which the first does not reach the second.
SELECT from_nodename || ':' || from_nodeport AS "from", to_nodename || ':' || to_nodeport AS "to"
FROM citus_check_cluster_node_health()
WHERE result IS NOT TRUE;

-- name: settings_of_workers
-- What each worker has for the settings that durability depends on.
SELECT n.nodename || ':' || n.nodeport AS node, r.success, r.result
FROM run_command_on_workers($$
    SELECT string_agg(name || ' ' || setting, ', ' ORDER BY name) FROM pg_settings
    WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'
$$) AS r
JOIN pg_dist_node AS n ON n.nodename = r.nodename AND n.nodeport = r.nodeport
ORDER BY 1;

-- name: writes_go_on
-- Whether a table without partitions can be distributed while it is written.
SELECT current_setting('wal_level') = 'logical';

-- name: shards
-- The number of shards of the first table that is distributed by this connection; the others follow it.
SELECT set_config('citus.shard_count', $1, false);

-- name: reference
-- A table with a copy on every node.
SELECT create_reference_table($1::text::regclass);

-- name: distribute
-- A table in shards by installation_id, each beside that of the table $2. Writes to the table wait.
SELECT create_distributed_table($1::text::regclass, 'installation_id', colocate_with => $2);

-- name: distribute_concurrently
-- Likewise, while the table is written; outside of a transaction.
SELECT create_distributed_table_concurrently($1::text::regclass, 'installation_id', colocate_with => $2);

-- name: free_space
-- Deletes the rows that a distributed table still has on this node, where no query sees them.
SELECT truncate_local_data_after_distributing_table($1::text::regclass);

-- name: missing_functions
-- The functions that the workers do not have: made before the database had Citus, or when a table that they read was
-- not distributed.
SELECT p.oid::regprocedure::text AS function
FROM pg_proc AS p
LEFT JOIN pg_catalog.pg_dist_object AS o ON o.classid = 'pg_proc'::regclass AND o.objid = p.oid
WHERE p.pronamespace = current_schema()::regnamespace AND o.objid IS NULL
  AND NOT EXISTS (SELECT FROM pg_depend AS d
                  WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY p.oid;

-- name: share_function
-- A function on every node.
SELECT create_distributed_function($1::text::regprocedure);

-- name: functions_of_keys
-- The functions that workers have, and that have to run on the node of an installation, and do not yet.
SELECT p.oid::regprocedure::text AS function
FROM pg_proc AS p
JOIN pg_catalog.pg_dist_object AS o ON o.classid = 'pg_proc'::regclass AND o.objid = p.oid
WHERE p.pronamespace = current_schema()::regnamespace AND p.proname = 'run_on_node'
  AND o.distribution_argument_index IS NULL;

-- name: run_by_key
-- Also in a transaction, as it reads and writes no distributed table but the shards themselves.
SELECT create_distributed_function($1::text::regprocedure, 'key', colocate_with => 'installations', force_delegation => true);

-- name: shards_of
-- The shard of each installation of $1, and the node that has it, as the number of its group.
SELECT k.installation_id, p.groupid AS node, s.shardid AS shard
FROM unnest($1::uuid[]) AS k (installation_id)
JOIN pg_dist_shard AS s ON s.logicalrelid = 'installations'::regclass
                       AND uuid_hash(k.installation_id) BETWEEN s.shardminvalue::integer AND s.shardmaxvalue::integer
JOIN pg_dist_placement AS p ON p.shardid = s.shardid;

-- name: run_on_node
-- Runs the statement $1 once for each shard of $2, with its row of the arguments $3, on the node of the installation $5.
SELECT kind, installation_id, sequence, received FROM run_on_node($1, $2, $3, $4, $5);

-- name: set_coordinator
-- The address at which workers reach this node; without $1, that at which we do.
SELECT citus_set_coordinator_host(coalesce($1, host(inet_server_addr())), coalesce($2, inet_server_port()));

-- name: add_node
SELECT citus_add_node($1, $2);

-- name: start_rebalance
-- Moves shards until all nodes have their share, while they are read and written. NULL: they have it.
-- By force: pings have no key, so an UPDATE or DELETE of them fails while their shard moves; their jobs repeat it.
SELECT citus_rebalance_start(shard_transfer_mode => 'force_logical');

-- name: wait_for_rebalance
SELECT citus_rebalance_wait();

-- name: empty_node
-- Moves all shards from a node, while they are read and written.
SELECT citus_drain_node($1, $2, 'force_logical');

-- name: remove_node
SELECT citus_remove_node($1, $2);
