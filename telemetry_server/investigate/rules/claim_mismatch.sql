/*---
id = "0afd6ab1-8738-58c4-b012-eb7421cce2d8"
title = "The copy claims what the registry denies"
status = "stable"
means = "A copy has said for days that it is licensed, and the registry says it is not."
does_not_mean = "The registry can be behind: a renewal that was paid and not recorded looks the same."
falsepositives = [
    "A renewal that is recorded late.",
    "A cache of the copy that ends with its next check.",
]
closes = "claim and registry agree, or the copy stopped reporting long ago"
family = "key"
subject = "installation"
cadence = "hour"
window = 90
[parameters.days]
type = "integer"
default = 3
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

SELECT f.installation_id::text AS subject_id, coalesce(t.at, f.first_received_at) AS first_seen,
       i.last_received_at AS last_seen, 0.8::float8 AS strength,
       jsonb_build_object('installations', jsonb_build_array(f.installation_id), 'claim', f.license_status,
                          'verdict', f.verdict) AS evidence
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
LEFT JOIN turned AS t ON t.installation_id = f.installation_id
WHERE f.product_id = :product AND f.claim_mismatch AND f.verdict NOT IN ('valid', 'trial')
  AND i.last_received_at >= greatest(:begin::timestamptz, :since)
  AND i.last_received_at - coalesce(t.at, f.first_received_at) >= :days * interval '1 day'
