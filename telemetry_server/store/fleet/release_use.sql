-- name: versions_in_use
-- The copies of the product $1 that are not lost, by version, the newest version first, and those of the verdicts $2.
SELECT f.version, f.version_key, count(*) AS copies,
       count(*) FILTER (WHERE f.verdict = ANY ($2::text[])) AS uncovered, max(i.last_received_at) AS last_received_at
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.product_id = $1 AND f.life <> 'lost'
GROUP BY f.version, f.version_key
ORDER BY f.version_key DESC NULLS LAST, f.version DESC;

-- name: builds_in_use
-- The builds of a product that copies which report name, by version, the most frequent first.
SELECT b.version, b.build, count(*) AS copies, count(DISTINCT nullif(b.country, 'unknown')) AS countries,
       min(b.first_received_at) AS first_at, max(b.last_received_at) AS last_at
FROM (
    SELECT f.version, f.country, s.facts #>> '{service,build}' AS build, f.first_received_at, i.last_received_at
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
    WHERE f.product_id = $1 AND f.life <> 'lost'
) AS b
WHERE b.build IS NOT NULL
GROUP BY b.version, b.build
ORDER BY copies DESC, b.version, b.build
LIMIT $2;
