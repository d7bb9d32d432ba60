-- name: pings_by_day
-- Pings by day since the day $2.
SELECT r.day, sum(r.pings)::bigint AS pings
FROM fleet_days AS r
JOIN products AS p USING (product_id)
WHERE r.dimension = 'all' AND r.value = '' AND r.verdict = '' AND r.day >= $2
  AND ($1::text IS NULL OR p.slug = $1)
GROUP BY r.day
ORDER BY r.day;

-- name: suspect_pings
-- Number of pings received since $2 with a clock far off, counted up to $3. The product is asked for ping by ping: a
-- join looks up each installation of a large product in every partition.
SELECT count(*)
FROM (
    SELECT g.sequence
    FROM pings AS g
    WHERE g.time_suspect AND g.received_at >= $2
      AND ($1::text IS NULL
           OR (SELECT i.product_id FROM installations AS i WHERE i.installation_id = g.installation_id)
            = (SELECT product_id FROM products WHERE slug = $1))
    ORDER BY g.received_at DESC
    LIMIT $3
) AS newest;

-- name: top_features
-- The most used features since the day $2.
SELECT f.feature, sum(f.uses) AS uses
FROM feature_days AS f
JOIN products AS p USING (product_id)
WHERE f.day >= $2 AND ($1::text IS NULL OR p.slug = $1)
GROUP BY f.feature
ORDER BY uses DESC, f.feature
LIMIT 10;

-- name: counted
-- Up to when pings are counted by their day (NULL: never yet), and the days since $2 still to be counted.
SELECT (SELECT reached_at FROM rollup_marks WHERE name = 'roll up pings') AS pings_until,
       ARRAY(SELECT DISTINCT d.day
             FROM days_due AS d
             JOIN products AS p USING (product_id)
             WHERE d.day >= $2 AND ($1::text IS NULL OR p.slug = $1)) AS waiting;

-- name: forks_counted
-- Number of forks since $2, and of their installations.
SELECT count(*) AS forks, count(DISTINCT f.installation_id) AS installations
FROM forks AS f
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
WHERE f.received_at >= $2 AND ($1::text IS NULL OR p.slug = $1);

-- name: quarantine_counted
-- Pings in quarantine.
SELECT count(*)
FROM quarantine AS q
JOIN products AS p USING (product_id)
WHERE $1::text IS NULL OR p.slug = $1;

-- name: outcomes
-- Outcomes of pings since the day $2, by outcome and day (UTC).
SELECT c.day, c.outcome, sum(c.count)::bigint AS count
FROM ingest_counts AS c
JOIN products AS p USING (product_id)
WHERE c.day >= $2 AND ($1::text IS NULL OR p.slug = $1)
GROUP BY c.day, c.outcome
ORDER BY c.outcome, c.day;

-- name: newest_forks
-- The newest forks since $2.
SELECT f.installation_id, p.slug AS product, f.sequence, f.ping_id, f.stored_ping_id, f.received_at,
       abbrev(f.client_address) AS client_address
FROM forks AS f
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
WHERE f.received_at >= $2 AND ($1::text IS NULL OR p.slug = $1)
ORDER BY f.received_at DESC, f.installation_id, f.sequence, f.ping_id
LIMIT $3;

-- name: newest_quarantined
-- The newest pings in quarantine; their bytes stay where they are.
SELECT q.installation_id, p.slug AS product, q.sequence, q.ping_id, q.received_at, q.sqlstate, q.message,
       length(q.body) AS bytes
FROM quarantine AS q
JOIN products AS p USING (product_id)
WHERE $1::text IS NULL OR p.slug = $1
ORDER BY q.received_at DESC, q.installation_id, q.sequence, q.ping_id
LIMIT $2;

-- name: suspect_installations
-- Installations that sent the newest $4 pings since $2 with a clock far off: their number, and the newest ping.
SELECT g.installation_id, p.slug AS product, count(*) AS pings, max(g.received_at) AS received_at,
       max(g.sequence) AS sequence, min(g.occurred_at) AS earliest, max(g.occurred_at) AS latest
FROM (
    SELECT g.installation_id, g.received_at, g.sequence, g.occurred_at
    FROM pings AS g
    WHERE g.time_suspect AND g.received_at >= $2
      AND ($1::text IS NULL
           OR (SELECT i.product_id FROM installations AS i WHERE i.installation_id = g.installation_id)
            = (SELECT product_id FROM products WHERE slug = $1))
    ORDER BY g.received_at DESC
    LIMIT $4
) AS g
JOIN installations AS i USING (installation_id)
JOIN products AS p USING (product_id)
GROUP BY 1, 2
ORDER BY 4 DESC, 1
LIMIT $3;
