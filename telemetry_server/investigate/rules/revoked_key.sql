/*---
id = "37aff273-9908-5357-985d-56e8325b7aaa"
title = "Reports on a license that was taken back"
status = "stable"
means = "Copies went on reporting after their license was revoked or refunded."
does_not_mean = "The customer may not know: a chargeback of the bank revokes a license, too."
falsepositives = [
    "A copy that is switched off within days of the refund.",
    "A license that was revoked by mistake.",
]
closes = "the license is active again, or its copies stopped reporting long ago"
family = "key"
subject = "license"
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

SELECT f.license_id::text AS subject_id, min(coalesce(t.at, f.first_received_at)) AS first_seen,
       max(i.last_received_at) AS last_seen, 0.7::float8 AS strength,
       jsonb_build_object('installations', to_jsonb((array_agg(f.installation_id ORDER BY i.last_received_at DESC, f.installation_id))[1:500]),
                          'copies', count(*), 'claims', count(*) FILTER (WHERE f.claim_mismatch)) AS evidence
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
LEFT JOIN turned AS t ON t.installation_id = f.installation_id
WHERE f.product_id = :product AND f.verdict = 'revoked' AND f.license_id IS NOT NULL AND i.last_received_at >= :begin
GROUP BY f.license_id
HAVING max(i.last_received_at) >= :since
   AND max(i.last_received_at) - min(coalesce(t.at, f.first_received_at)) >= :days * interval '1 day'
