/*---
id = "914045cd-c8db-5753-aaf9-89611cf6b984"
title = "The copy names another source than the registry"
status = "stable"
means = "The copies say that their license came from somewhere else than the registry has."
does_not_mean = "A license that was resold or given away properly may still have its first source in the registry."
falsepositives = [
    "An installer with a fixed source.",
    "A license that moved from a reseller to the vendor.",
]
closes = "copies and registry name the same source, or the copies stopped reporting long ago"
family = "claim"
subject = "license"
cadence = "hour"
window = 90
[parameters.days]
type = "integer"
default = 3
least = 0
most = 365
---*/
SELECT f.license_id::text AS subject_id, min(f.first_received_at) AS first_seen, max(i.last_received_at) AS last_seen,
       0.4::float8 AS strength,
       jsonb_build_object('installations', to_jsonb((array_agg(f.installation_id ORDER BY i.last_received_at DESC, f.installation_id))[1:500]),
                          'copies', count(*), 'claim', min(f.license_source)) AS evidence
FROM installation_facts AS f
JOIN installations AS i ON i.installation_id = f.installation_id
WHERE f.product_id = :product AND f.source_mismatch AND f.verdict <> 'wrong_product' AND f.license_id IS NOT NULL
  AND i.last_received_at >= :begin
GROUP BY f.license_id
HAVING max(i.last_received_at) >= :since
   AND max(i.last_received_at) - min(f.first_received_at) >= :days * interval '1 day'
