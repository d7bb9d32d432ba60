-- name: outages
SELECT began_at, ended_at FROM outages ORDER BY began_at;

-- name: note_outage
-- An outage that continues is the same one, extended.
INSERT INTO outages (began_at, ended_at) VALUES ($1, $2)
ON CONFLICT (began_at) DO UPDATE SET ended_at = greatest(outages.ended_at, excluded.ended_at);

-- name: last_ping
-- When the newest ping was received, after $1 and up to $2.
SELECT max(received_at) FROM pings WHERE received_at > $1 AND received_at <= $2;

-- name: next_ping
-- When the oldest of these was received.
SELECT min(received_at) FROM pings WHERE received_at > $1 AND received_at <= $2;

-- name: awaited
-- Number of copies, up to $3, whose next ping was due between $1 and $2, an interval after their last one, and did
-- not come. Copies that were silent before are no evidence, nor are simulated ones.
SELECT count(*)
FROM (
    SELECT DISTINCT g.installation_id
    FROM products AS p
    JOIN pings AS g
        ON g.received_at > $1::timestamptz - make_interval(secs => p.ping_interval_seconds)
        AND g.received_at <= $2::timestamptz - make_interval(secs => p.ping_interval_seconds)
    JOIN installations AS i
        ON i.installation_id = g.installation_id AND i.product_id = p.product_id
        AND i.last_received_at = g.received_at
    WHERE NOT p.simulated
    LIMIT $3
) AS a;

-- name: look_again
-- Installations that became late or lost after $1 are due now, at $2. Rows are locked in the writer's order.
WITH blamed AS MATERIALIZED (
    SELECT installation_id
    FROM installation_facts
    WHERE life IN ('late', 'lost') AND life_since > $1
    ORDER BY installation_id
)
UPDATE installation_facts AS f SET due_at = $2
FROM blamed
WHERE f.installation_id = blamed.installation_id AND f.life IN ('late', 'lost');
