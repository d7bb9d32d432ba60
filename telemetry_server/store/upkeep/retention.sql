-- name: unused_states
-- States that no ping and no installation refers to, as far as can be seen without a lock.
SELECT s.installation_id, array_agg(s.state) AS states
FROM states AS s
WHERE s.first_received_at < $1
  AND NOT EXISTS (SELECT FROM installations AS i WHERE i.installation_id = s.installation_id AND i.state = s.state)
  AND NOT EXISTS (SELECT FROM pings AS g WHERE g.installation_id = s.installation_id AND g.state = s.state)
GROUP BY s.installation_id;

-- name: lock_installation
-- The writer holds the same lock while it checks whether a state is known.
SELECT FROM installations WHERE installation_id = $1 FOR UPDATE;

-- name: forget_states
-- Deletes those of the states that are still unused, under the lock.
WITH done AS (
    DELETE FROM states AS s
    WHERE s.installation_id = $1 AND s.state = ANY ($2::bytea[])
      AND NOT EXISTS (SELECT FROM installations AS i WHERE i.installation_id = $1 AND i.state = s.state)
      AND NOT EXISTS (SELECT FROM pings AS g WHERE g.installation_id = $1 AND g.state = s.state)
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: oldest_day
-- The first day that has a ping or a row of installation_days.
SELECT least((SELECT (received_at AT TIME ZONE 'UTC')::date FROM pings ORDER BY received_at LIMIT 1),
             (SELECT day FROM installation_days ORDER BY day LIMIT 1));

-- name: forget_counters_of_pings
-- Of the pings received on the day $1; by a clock that is a little ahead they may be of the next day.
WITH done AS (
    UPDATE pings SET counters = NULL, features = NULL, used_since = NULL, details = details - 'usage'
    WHERE received_at >= $1::date::timestamp AT TIME ZONE 'UTC' - interval '10 minutes'
      AND received_at < ($1::date + 1)::timestamp AT TIME ZONE 'UTC' - interval '10 minutes'
      AND (num_nonnulls(counters, features, used_since) > 0 OR details ? 'usage')
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: forget_counters_of_days
WITH done AS (
    UPDATE installation_days SET counters = NULL, features = NULL
    WHERE day = $1 AND num_nonnulls(counters, features) > 0
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: forget_changes
-- Verdicts and phases are findings of the server, not facts of the copy.
WITH done AS (
    DELETE FROM changes WHERE changed_at < $1 AND field NOT IN ('verdict', 'life') RETURNING 1
)
SELECT count(*) FROM done;

-- name: empty_quarantine
WITH done AS (DELETE FROM quarantine WHERE received_at < $1 RETURNING 1) SELECT count(*) FROM done;

-- name: forget_enrolments
-- Parents of identities that were created before $1 and never sent a ping.
WITH done AS (
    DELETE FROM lineage AS l
    WHERE l.enrolled_at < $1
      AND NOT EXISTS (SELECT FROM installations AS i WHERE i.installation_id = l.installation_id)
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: forget_counts
WITH done AS (DELETE FROM ingest_counts WHERE day < $1 RETURNING 1) SELECT count(*) FROM done;
