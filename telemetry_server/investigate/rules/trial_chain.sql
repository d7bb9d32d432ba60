/*---
id = "559939f1-86f5-507b-b724-3e36603400b5"
title = "One trial after the other on one machine"
status = "stable"
means = "One machine, or one address, had several trials one after the other."
does_not_mean = "A reinstallation begins a trial anew without anyone meaning it, once or twice."
falsepositives = [
    "A reinstallation after a crash.",
    "A laboratory or a reseller that shows the product to customers.",
]
closes = "no trial has run there for long"
family = "time"
subject = "installation"
cadence = "hour"
window = 90
[parameters.trials]
type = "integer"
default = 3
least = 2
most = 50
[parameters.days]
type = "integer"
default = 20
least = 0
most = 365
---*/
WITH trials AS (
    SELECT f.installation_id, f.license_id, f.first_received_at AS first, i.last_received_at AS last, i.client_address,
           s.facts #> '{host,fingerprint}' AS fingerprint,
           NOT (lower(f.environment) = ANY (:free::text[]) OR i.client_address <<= ANY (:allowed::cidr[]) IS TRUE) AS counts
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
    WHERE f.product_id = :product AND i.last_received_at >= :begin::timestamptz - interval '180 days'
      AND (f.verdict = 'trial' OR f.license_status = 'trial' OR f.license_source = 'trial')
), shared AS (
    SELECT t.installation_id, t.license_id, t.first, t.last, t.counts, p.kind || ' ' || p.value AS machine
    FROM trials AS t
    CROSS JOIN LATERAL jsonb_each_text(coalesce(t.fingerprint, '{}')) AS p (kind, value)
    UNION ALL
    SELECT t.installation_id, t.license_id, t.first, t.last, t.counts, 'address ' || host(t.client_address)
    FROM trials AS t
    WHERE t.client_address IS NOT NULL
), chains AS (
    SELECT s.machine, min(s.first) AS first, max(s.last) AS last, count(*) AS trials,
           count(*) FILTER (WHERE s.counts) AS counted,
           count(DISTINCT s.license_id) AS customers, (array_agg(s.installation_id ORDER BY s.first DESC))[1] AS newest,
           (array_agg(s.installation_id ORDER BY s.first DESC))[1:500] AS installations
    FROM shared AS s
    GROUP BY s.machine
    HAVING count(*) >= :trials AND max(s.first) - min(s.first) >= :days * interval '1 day'
       AND sum(s.last - s.first) <= 1.3 * (max(s.last) - min(s.first))
       AND max(s.last) >= greatest(:begin::timestamptz, :since)
)
SELECT c.newest::text AS subject_id, min(c.first) AS first_seen, max(c.last) AS last_seen,
       least(0.9, 0.2 + 0.15 * max(c.trials))::float8 AS strength,
       jsonb_build_object('installations', jsonb_agg(to_jsonb(c.installations) ORDER BY c.trials DESC) -> 0,
                          'trials', max(c.trials), 'customers', max(c.customers), 'shared', to_jsonb(array_agg(split_part(c.machine, ' ', 1))),
                          'unscored', CASE WHEN max(c.counted) < :trials THEN 'environment' END) AS evidence
FROM chains AS c
GROUP BY c.newest
