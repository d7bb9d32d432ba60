/*---
id = "295d3392-22a0-573f-8cdf-86b096de446e"
title = "Runs without a key and says so"
status = "stable"
means = "A copy has reported for weeks that it is not licensed, outside of any trial."
does_not_mean = "It is not known whether a license exists: the copy may only lack its key."
falsepositives = [
    "A customer who has not entered the key yet.",
    "An installation for a course or a demonstration.",
]
closes = "the copy names a key now, or stopped reporting long ago"
family = "claim"
subject = "installation"
cadence = "hour"
window = 90
[parameters.days]
type = "integer"
default = 14
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
       i.last_received_at AS last_seen, 0.3::float8 AS strength,
       jsonb_build_object('installations', jsonb_build_array(f.installation_id), 'status', f.license_status,
                          'country', f.country, 'asn', f.asn) AS evidence
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
LEFT JOIN turned AS t ON t.installation_id = f.installation_id
WHERE f.product_id = :product AND f.verdict = 'no_key' AND f.license_status <> 'trial'
  AND i.last_received_at >= greatest(:begin::timestamptz, :since)
  AND i.last_received_at - coalesce(t.at, f.first_received_at) >= :days * interval '1 day'
