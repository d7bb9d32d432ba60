-- For a cluster: groups of pings are written by the node that has their shards, which commits alone. Locks no table.

CREATE FUNCTION run_on_node(statement text, shards bigint[], arguments text[], has_rows boolean, key uuid)
RETURNS TABLE (kind text, installation_id uuid, sequence bigint, received int8multirange)
LANGUAGE plpgsql
SET plan_cache_mode = 'force_generic_plan' -- these as on the connections of the writer
SET enable_seqscan = 'off'
SET lock_timeout = '3s'
AS $$
DECLARE
    prepared text;
    on_shard text;
    call     text;
    name     text;
    of_shard text;
BEGIN
    PERFORM lock_shard_metadata(5, shards); -- as each write of Citus: until the commit, no shard moves away
    IF EXISTS (SELECT FROM unnest(shards) AS s (shardid)
               WHERE NOT EXISTS (SELECT FROM pg_dist_placement AS p
                                 JOIN pg_dist_local_group AS g ON g.groupid = p.groupid
                                 WHERE p.shardid = s.shardid)) THEN
        RAISE EXCEPTION 'a shard is on another node' USING ERRCODE = 'serialization_failure';
    END IF;
    FOR number IN 1 .. cardinality(shards) LOOP
        prepared := concat_ws(' ', 'shard', shards[number], md5(statement));
        IF NOT EXISTS (SELECT FROM pg_prepared_statements AS p WHERE p.name = prepared) THEN
            on_shard := statement;
            FOR name, of_shard IN
                SELECT c.relname, shard_name(o.logicalrelid, o.shardid)
                FROM pg_dist_shard AS s
                JOIN pg_dist_partition AS t ON t.logicalrelid = s.logicalrelid
                JOIN pg_dist_partition AS r ON r.colocationid = t.colocationid OR r.repmodel = 't'
                JOIN pg_dist_shard AS o ON o.logicalrelid = r.logicalrelid
                                       AND (r.repmodel = 't' OR o.shardminvalue = s.shardminvalue)
                JOIN pg_class AS c ON c.oid = o.logicalrelid
                WHERE s.shardid = shards[number]
            LOOP
                on_shard := regexp_replace(on_shard, '\m(FROM|JOIN|INTO) ' || name || '\M', '\1 ' || of_shard, 'g');
            END LOOP;
            EXECUTE format('PREPARE %I AS %s', prepared, on_shard);
        END IF;
        SELECT format('EXECUTE %I (%s)', prepared, string_agg(quote_nullable(a.value), ', ' ORDER BY a.place))
        INTO call
        FROM unnest(arguments[number:number][:]) WITH ORDINALITY AS a (value, place);
        IF has_rows THEN
            RETURN QUERY EXECUTE call;
        ELSE
            EXECUTE call;
        END IF;
    END LOOP;
END;
$$;
COMMENT ON FUNCTION run_on_node IS
    'Runs a statement of the writer on a node of a cluster, once for each of these shards, on the tables of the shard and '
    'with its row of the arguments. The node of the installation key runs it as one transaction of its own.';
