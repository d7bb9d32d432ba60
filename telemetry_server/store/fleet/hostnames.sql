-- name: unknown_hostnames
-- Installations whose address was never looked up, or without a result before $1, or with a name before $2; those
-- last seen first. Shortened addresses have no name.
SELECT i.installation_id, host(i.client_address) AS address
FROM installations AS i
LEFT JOIN hostnames AS h ON h.address = i.client_address
WHERE masklen(i.client_address) = CASE family(i.client_address) WHEN 4 THEN 32 ELSE 128 END
  AND (h.address IS NULL OR h.looked_up_at < CASE WHEN h.hostname IS NULL THEN $1::timestamptz ELSE $2::timestamptz END)
ORDER BY i.last_received_at DESC
LIMIT $3;

-- name: keep_hostnames
-- $1 is an array of JSON objects. Skips an address that was shortened meanwhile, or that its installation left.
INSERT INTO hostnames (address, hostname, looked_up_at)
SELECT i.client_address, r.hostname, $2
FROM jsonb_to_recordset($1::jsonb) AS r (installation_id uuid, address inet, hostname text)
JOIN installations AS i ON i.installation_id = r.installation_id AND i.client_address = r.address
ORDER BY 1
ON CONFLICT (address) DO UPDATE SET hostname = excluded.hostname, looked_up_at = excluded.looked_up_at;

-- name: forget_hostnames
-- Deletes those of addresses that no installation has in full.
WITH used AS MATERIALIZED (
    SELECT DISTINCT h.address
    FROM hostnames AS h
    JOIN installations AS i ON i.client_address = h.address
), done AS (
    DELETE FROM hostnames AS h
    WHERE NOT EXISTS (SELECT FROM used AS u WHERE u.address = h.address)
    RETURNING 1
)
SELECT count(*) FROM done;
