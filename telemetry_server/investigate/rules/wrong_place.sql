/*---
id = "0c43dfcf-648d-50b5-94f2-88cae69e8455"
title = "Used outside of the networks or the country of its license"
status = "stable"
means = "Copies report from addresses in none of the networks of their license, or from another country than its territory."
does_not_mean = "An office can move, and a proxy can hide where a copy is."
falsepositives = [
    "A customer who moved, and whose license still has the old networks.",
    "A reverse proxy or a VPN in another country.",
]
closes = "the copies report from where the license allows, or stopped reporting long ago"
family = "place"
subject = "license"
cadence = "hour"
window = 90
[parameters.days]
type = "integer"
default = 7
least = 0
most = 365
---*/
WITH turned AS (
    SELECT c.installation_id, max(c.changed_at) AS at
    FROM changes AS c
    JOIN installation_facts AS f ON f.installation_id = c.installation_id
    WHERE c.field = 'verdict' AND f.product_id = :product
    GROUP BY c.installation_id
), territories AS (
    SELECT l.license_id, l.custom ->> 'territory' AS country
    FROM licenses AS l
    WHERE l.product_id = :product AND l.custom ->> 'territory' IS NOT NULL
), placed AS (
    SELECT f.license_id, f.installation_id, f.country, f.verdict, i.last_received_at AS last,
           coalesce(t.at, f.first_received_at) AS turned_at, f.first_received_at AS first
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    LEFT JOIN turned AS t ON t.installation_id = f.installation_id
    WHERE f.product_id = :product AND f.license_id IS NOT NULL AND i.last_received_at >= :begin
)
SELECT f.license_id::text AS subject_id,
       min(CASE WHEN f.verdict = 'wrong_place' THEN f.turned_at ELSE f.first END) AS first_seen,
       max(f.last) AS last_seen, 0.5::float8 AS strength,
       jsonb_build_object('installations', to_jsonb((array_agg(f.installation_id ORDER BY f.last DESC))[1:500]),
                          'copies', count(*), 'territory', min(y.country),
                          'countries', to_jsonb(array_agg(DISTINCT f.country))) AS evidence
FROM placed AS f
LEFT JOIN territories AS y ON y.license_id = f.license_id
WHERE f.verdict = 'wrong_place' OR f.country <> y.country AND f.country <> 'unknown'
GROUP BY f.license_id
HAVING max(f.last) >= :since
   AND max(f.last) - min(CASE WHEN f.verdict = 'wrong_place' THEN f.turned_at ELSE f.first END) >= :days * interval '1 day'
