/*---
id = "0756a49f-6200-5f51-8eda-967adadfee93"
title = "Many uncovered copies behind one address"
status = "stable"
means = "From one address report many copies that no license covers."
does_not_mean = "Behind one address can be an office, a provider or a whole country."
falsepositives = [
    "The exit of a content delivery network or a VPN, behind which some copies are uncovered.",
    "A school that tries the product out.",
]
closes = "fewer such copies report from there"
family = "place"
subject = "network"
cadence = "hour"
window = 90
[parameters.copies]
type = "integer"
default = 5
least = 2
most = 10000
[parameters.share]
type = "number"
default = 0.5
least = 0
most = 1
---*/
WITH behind AS (
    SELECT f.installation_id, f.license_id, f.license_key_hash, f.verdict IN ('valid', 'trial') AS is_covered,
           f.first_received_at AS first, i.last_received_at AS last,
           CASE family(i.client_address) WHEN 4 THEN host(i.client_address)
                                         ELSE text(network(set_masklen(i.client_address, 64))) END AS address,
           NOT (lower(f.environment) = ANY (:free::text[]) OR i.client_address <<= ANY (:allowed::cidr[]) IS TRUE) AS counts
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    WHERE f.product_id = :product AND i.client_address IS NOT NULL AND i.last_received_at >= :begin
      AND masklen(i.client_address) IN (32, 128)
)
SELECT b.address AS subject_id, min(b.first) FILTER (WHERE NOT b.is_covered) AS first_seen,
       max(b.last) FILTER (WHERE NOT b.is_covered) AS last_seen, 0.3::float8 AS strength,
       jsonb_build_object('installations', to_jsonb((array_agg(b.installation_id ORDER BY b.last DESC)
                              FILTER (WHERE NOT b.is_covered))[1:500]),
                          'copies', count(*), 'uncovered', count(*) FILTER (WHERE NOT b.is_covered),
                          'keys', count(DISTINCT b.license_key_hash), 'customers', count(DISTINCT b.license_id),
                          'unscored', CASE WHEN count(*) FILTER (WHERE NOT b.is_covered AND b.counts) < :copies
                                           THEN 'environment' END) AS evidence
FROM behind AS b
GROUP BY b.address
HAVING count(*) FILTER (WHERE NOT b.is_covered) >= :copies
   AND count(*) FILTER (WHERE NOT b.is_covered) >= :share * count(*)
   AND max(b.last) >= :since
