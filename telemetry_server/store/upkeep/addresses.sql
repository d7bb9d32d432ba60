-- name: oldest_address
-- The time of the oldest ping or address in the timeline, which is kept longer than pings.
SELECT least((SELECT min(received_at) FROM pings),
             (SELECT min(changed_at) FROM changes WHERE field = 'client_address'));

-- name: shorten_ping_addresses
-- Shortens the full addresses of the pings from $1 until before $2 to their /24 or /48.
WITH done AS (
    UPDATE pings SET client_address = network(set_masklen(client_address, CASE family(client_address) WHEN 4 THEN 24 ELSE 48 END))
    WHERE received_at >= $1 AND received_at < $2
      AND masklen(client_address) = CASE family(client_address) WHEN 4 THEN 32 ELSE 128 END
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: shorten_change_addresses
-- Likewise in the timeline, where they are text; one with a width is short already.
WITH done AS (
    UPDATE changes AS c SET
        before = CASE WHEN c.before LIKE '%/%' THEN c.before
                      ELSE network(set_masklen(c.before::inet, CASE family(c.before::inet) WHEN 4 THEN 24 ELSE 48 END))::text END,
        after  = CASE WHEN c.after LIKE '%/%' THEN c.after
                      ELSE network(set_masklen(c.after::inet, CASE family(c.after::inet) WHEN 4 THEN 24 ELSE 48 END))::text END
    WHERE c.field = 'client_address' AND c.changed_at >= $1 AND c.changed_at < $2
      AND (c.before NOT LIKE '%/%' OR c.after NOT LIKE '%/%')
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: shorten_installation_addresses
WITH done AS (
    UPDATE installations SET client_address = network(set_masklen(client_address, CASE family(client_address) WHEN 4 THEN 24 ELSE 48 END))
    WHERE last_received_at < $1
      AND masklen(client_address) = CASE family(client_address) WHEN 4 THEN 32 ELSE 128 END
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: shorten_fork_addresses
WITH done AS (
    UPDATE forks SET client_address = network(set_masklen(client_address, CASE family(client_address) WHEN 4 THEN 24 ELSE 48 END))
    WHERE received_at < $1
      AND masklen(client_address) = CASE family(client_address) WHEN 4 THEN 32 ELSE 128 END
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: shorten_lineage_addresses
WITH done AS (
    UPDATE lineage SET client_address = network(set_masklen(client_address, CASE family(client_address) WHEN 4 THEN 24 ELSE 48 END))
    WHERE enrolled_at < $1
      AND masklen(client_address) = CASE family(client_address) WHEN 4 THEN 32 ELSE 128 END
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: erase_ping_addresses
-- Deletes all addresses of the pings from $1 until before $2.
WITH done AS (
    UPDATE pings SET client_address = NULL
    WHERE received_at >= $1 AND received_at < $2 AND client_address IS NOT NULL
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: erase_change_addresses
-- Likewise in the timeline.
WITH done AS (
    DELETE FROM changes
    WHERE field = 'client_address' AND changed_at >= $1 AND changed_at < $2
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: erase_installation_addresses
-- Erases a batch of installations after $1, in the writer's order; returns the last of them, and their number.
WITH known AS MATERIALIZED (
    SELECT installation_id
    FROM installations
    WHERE installation_id > $1 AND client_address IS NOT NULL
    ORDER BY installation_id
    LIMIT $2
), done AS (
    UPDATE installations AS i SET client_address = NULL
    FROM known
    WHERE i.installation_id = known.installation_id
    RETURNING 1
)
SELECT (SELECT installation_id FROM known ORDER BY installation_id DESC LIMIT 1) AS last, count(*) FROM done;

-- name: erase_fork_addresses
WITH done AS (
    UPDATE forks SET client_address = NULL WHERE client_address IS NOT NULL RETURNING 1
)
SELECT count(*) FROM done;

-- name: erase_lineage_addresses
WITH done AS (
    UPDATE lineage SET client_address = NULL WHERE client_address IS NOT NULL RETURNING 1
)
SELECT count(*) FROM done;

-- name: last_run
-- The last run of the job $1, and since when this database exists.
SELECT j.last_started_at, j.last_finished_at, j.last_error,
       (SELECT min(applied_at) FROM schema_migrations) AS made_at
FROM (VALUES ($1::text)) AS wanted (name)
LEFT JOIN jobs AS j USING (name);
