-- name: copies_by_license
-- The number of copies on each of these licenses, by verdict and whether they report, and their last ping.
SELECT f.license_id, f.verdict, f.life NOT IN ('late', 'lost') AS reporting, count(*) AS copies,
       max(i.last_received_at) AS last_received_at
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.license_id = ANY ($1::uuid[])
GROUP BY f.license_id, f.verdict, reporting;

-- name: verdict_since
-- Since when each of these licenses has copies of the verdict $2: when the first of its present ones came to it.
SELECT e.license_id, min(e.since) AS since
FROM (
    SELECT f.license_id, f.installation_id, coalesce(max(c.changed_at), min(f.first_received_at)) AS since
    FROM installation_facts AS f
    LEFT JOIN changes AS c
        ON c.installation_id = f.installation_id AND c.field = 'verdict' AND c.after = $2
    WHERE f.license_id = ANY ($1::uuid[]) AND f.verdict = $2
    GROUP BY f.license_id, f.installation_id
) AS e
GROUP BY e.license_id;

-- name: copies_of_license
-- The copies of a license, the last seen first.
SELECT f.installation_id, f.verdict, f.life, f.life_since, f.version, f.environment, f.country, f.claim_mismatch,
       f.first_received_at, i.last_received_at
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.license_id = $1
ORDER BY i.last_received_at DESC, f.installation_id
LIMIT $2;
