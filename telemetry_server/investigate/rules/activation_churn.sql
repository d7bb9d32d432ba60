/*---
id = "700b1054-521a-593e-a204-775a83091b78"
title = "Many short-lived copies on one key, far apart"
status = "stable"
means = "Within a week, many identities with one key began in different networks, and ended within days."
does_not_mean = "Containers without a volume make a new identity with every start, in one place."
falsepositives = [
    "A fleet of containers without a volume, in several regions.",
    "A hosting company that tries out its image.",
]
closes = "the week is outside of the window"
family = "copy"
subject = "key"
cadence = "hour"
window = 90
[parameters.copies]
type = "integer"
default = 6
least = 2
most = 1000
[parameters.networks]
type = "integer"
default = 3
least = 1
most = 100
[parameters.hours]
type = "integer"
default = 72
least = 1
most = 720
---*/
WITH brief AS (
    SELECT f.license_key_hash AS key, f.installation_id, f.first_received_at AS first, i.last_received_at AS last,
           f.country || ' ' || f.asn AS network, date_bin('7 days', f.first_received_at, 'epoch') AS week,
           NOT (lower(f.environment) = ANY (:free::text[]) OR i.client_address <<= ANY (:allowed::cidr[]) IS TRUE) AS counts
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    WHERE f.product_id = :product AND f.license_key_hash IS NOT NULL AND f.first_received_at >= :begin
      AND i.last_received_at - f.first_received_at < :hours * interval '1 hour'
      AND i.last_received_at < :now::timestamptz - :hours * interval '1 hour'
), weeks AS (
    SELECT b.key, b.week, count(*) AS copies, count(*) FILTER (WHERE b.counts) AS counted,
           count(DISTINCT b.network) AS networks, min(b.first) AS first, max(b.last) AS last,
           (array_agg(b.installation_id ORDER BY b.first))[1:500] AS installations
    FROM brief AS b
    GROUP BY b.key, b.week
    HAVING count(*) >= :copies AND count(DISTINCT b.network) >= :networks
)
SELECT encode(w.key, 'hex') AS subject_id, min(w.first) AS first_seen, max(w.last) AS last_seen,
       0.4::float8 AS strength,
       jsonb_build_object('installations', jsonb_agg(to_jsonb(w.installations) ORDER BY w.week DESC) -> 0,
                          'copies', max(w.copies), 'networks', max(w.networks), 'weeks', count(*),
                          'unscored', CASE WHEN max(w.counted) < :copies THEN 'environment' END) AS evidence
FROM weeks AS w
GROUP BY w.key
