/*---
id = "d36b4449-1b6e-5ca9-a47b-878d79986041"
title = "A key that no license has"
status = "stable"
means = "Copies report a key that is not in the registry."
does_not_mean = "The registry may be incomplete: a license that was sold and not imported looks the same."
falsepositives = [
    "A license that is imported late.",
    "A key that was mistyped, and is corrected within days.",
]
closes = "the key is in the registry now, or no copy has used it for long"
family = "key"
subject = "key"
cadence = "hour"
window = 90
[parameters.days]
type = "integer"
default = 2
least = 0
most = 365
---*/
WITH turned AS (
    SELECT c.installation_id, max(c.changed_at) AS at
    FROM changes AS c
    JOIN installation_facts AS f ON f.installation_id = c.installation_id
    WHERE c.field = 'verdict' AND f.product_id = :product
    GROUP BY c.installation_id
)

SELECT encode(f.license_key_hash, 'hex') AS subject_id, min(coalesce(t.at, f.first_received_at)) AS first_seen,
       max(i.last_received_at) AS last_seen,
       CASE WHEN count(*) FILTER (WHERE f.claim_mismatch) > 0 THEN 0.8 ELSE 0.5 END::float8 AS strength,
       jsonb_build_object('installations', to_jsonb((array_agg(f.installation_id ORDER BY i.last_received_at DESC, f.installation_id))[1:500]),
                          'copies', count(*), 'claims', count(*) FILTER (WHERE f.claim_mismatch),
                          'countries', count(DISTINCT nullif(f.country, 'unknown')),
                          'networks', count(DISTINCT nullif(f.asn, 'unknown'))) AS evidence
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
LEFT JOIN turned AS t ON t.installation_id = f.installation_id
WHERE f.product_id = :product AND f.verdict = 'unknown_key' AND f.license_key_hash IS NOT NULL
  AND i.last_received_at >= :begin
GROUP BY f.license_key_hash
HAVING max(i.last_received_at) >= :since
   AND max(i.last_received_at) - min(coalesce(t.at, f.first_received_at)) >= :days * interval '1 day'
