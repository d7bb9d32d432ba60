/*---
id = "f80d2672-17e7-514e-ae13-9689249bc938"
title = "A key of another product"
status = "stable"
means = "Copies report the key of a license for another product."
does_not_mean = "A customer with both products may have swapped the keys."
falsepositives = [
    "A key that was entered in the wrong product, and is corrected within days.",
]
closes = "the copies name a key of this product now, or stopped reporting long ago"
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
       max(i.last_received_at) AS last_seen, 0.6::float8 AS strength,
       jsonb_build_object('installations', to_jsonb((array_agg(f.installation_id ORDER BY i.last_received_at DESC, f.installation_id))[1:500]),
                          'copies', count(*), 'claims', count(*) FILTER (WHERE f.claim_mismatch)) AS evidence
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
LEFT JOIN turned AS t ON t.installation_id = f.installation_id
WHERE f.product_id = :product AND f.verdict = 'wrong_product' AND f.license_id IS NOT NULL
  AND i.last_received_at >= :begin
GROUP BY f.license_id
HAVING max(i.last_received_at) >= :since
   AND max(i.last_received_at) - min(coalesce(t.at, f.first_received_at)) >= :days * interval '1 day'
