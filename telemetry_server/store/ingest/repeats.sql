-- name: look_up_stored
-- For pings whose numbers were received before: the ping that has the number; no row if it is no longer stored.
SELECT g.installation_id, g.sequence, g.ping_id AS stored_ping_id
FROM unnest($1::uuid[], $2::bigint[]) AS k (installation_id, sequence)
JOIN pings AS g ON g.installation_id = k.installation_id AND g.sequence = k.sequence
WHERE g.installation_id = ANY ($1::uuid[]);

-- name: look_up_received
-- The numbers received of each installation that has holes.
SELECT installation_id, received
FROM installations
WHERE installation_id = ANY ($1::uuid[])
  AND received <> int8multirange(int8range(1, upper(received)));

-- name: record_forks
-- Stores further pings of a number beside the first. A repeated upload adds nothing; a thousand per installation
-- are evidence enough.
WITH crowded AS (
    SELECT installation_id FROM forks WHERE installation_id = ANY ($1::uuid[])
    GROUP BY installation_id
    HAVING count(*) >= 1000
)
INSERT INTO forks (
    installation_id, sequence, ping_id, stored_ping_id, received_at, occurred_at, client_address,
    facts, details, place
)
SELECT f.installation_id, f.sequence, f.ping_id, f.stored_ping_id, f.received_at, f.occurred_at,
       f.client_address::inet, f.facts::jsonb, f.details::jsonb, f.place::jsonb
FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::timestamptz[],
            $7::text[], $8::text[], $9::text[], $10::text[])
    AS f (installation_id, sequence, ping_id, stored_ping_id, received_at, occurred_at, client_address,
          facts, details, place)
WHERE NOT EXISTS (SELECT FROM crowded AS c WHERE c.installation_id = f.installation_id)
ON CONFLICT DO NOTHING;

-- name: lock_received
-- The numbers received of one installation, locked until the transaction ends.
SELECT received FROM installations WHERE installation_id = $1 FOR UPDATE;

-- name: close_holes
-- Closes gaps: their numbers count as received from now on, and as lost.
UPDATE installations SET received = received + $2::text::int8multirange, lost = lost + $3
WHERE installation_id = $1;
