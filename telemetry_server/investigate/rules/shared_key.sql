/*---
id = "f2247b8e-7f1b-56d2-89cd-96575221cf13"
title = "One key in unrelated networks"
status = "stable"
means = "Copies with one key ran side by side for days in more networks of different operators than the license has seats."
does_not_mean = "A company can have offices and servers with many operators."
falsepositives = [
    "A company with one license and offices in several countries.",
    "An agency that runs the copies of its customers.",
]
closes = "the license has enough seats now, or the copies stopped reporting long ago"
family = "copy"
subject = "key"
cadence = "hour"
window = 90
[parameters.days]
type = "integer"
default = 3
least = 0
most = 365
---*/
WITH spans AS (
    SELECT f.license_key_hash AS key, f.installation_id, f.first_received_at AS first, i.last_received_at AS last,
           f.country || ' ' || f.asn AS network, f.country,
           NOT (lower(f.environment) = ANY (:free::text[]) OR i.client_address <<= ANY (:allowed::cidr[]) IS TRUE) AS counts
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    WHERE f.product_id = :product AND f.license_key_hash IS NOT NULL AND f.asn <> 'unknown'
      AND i.last_received_at >= :begin AND i.last_received_at - f.first_received_at >= :days * interval '1 day'
), keys AS (
    SELECT n.key FROM spans AS n GROUP BY n.key HAVING count(DISTINCT n.network) > 1 AND max(n.last) >= :since
), numbered AS (
    SELECT n.key, n.installation_id, n.first, n.last, n.network, n.country, n.counts,
           row_number() OVER (PARTITION BY n.key ORDER BY n.first, n.installation_id) AS number
    FROM spans AS n
    JOIN keys AS k ON k.key = n.key
), beside AS (
    SELECT a.key, a.installation_id, a.network, a.country, a.counts,
           min(greatest(a.first, b.first)) AS first, max(least(a.last, b.last)) AS last
    FROM numbered AS a
    JOIN numbered AS b ON b.key = a.key AND b.network <> a.network
    WHERE a.number <= 200 AND b.number <= 200
      AND least(a.last, b.last) - greatest(a.first, b.first) >= :days * interval '1 day'
    GROUP BY a.key, a.installation_id, a.network, a.country, a.counts
), sold AS (
    SELECT k.key_hash AS key, CASE WHEN l.overage = 'any' THEN NULL ELSE l.seats END AS seats, l.license_id
    FROM license_keys AS k
    JOIN licenses AS l ON l.license_id = k.license_id
    WHERE l.product_id = :product
), shared AS (
    SELECT b.key, count(DISTINCT b.network) AS networks, count(DISTINCT b.network) FILTER (WHERE b.counts) AS counted,
           count(DISTINCT b.country) AS countries, min(b.first) AS first, max(b.last) AS last,
           to_jsonb((array_agg(b.installation_id ORDER BY b.last DESC))[1:500]) AS installations, count(*) AS copies
    FROM beside AS b
    GROUP BY b.key
)
SELECT encode(h.key, 'hex') AS subject_id, h.first AS first_seen, h.last AS last_seen,
       least(0.9, 0.2 + 0.1 * h.networks)::float8 AS strength,
       jsonb_build_object('installations', h.installations, 'copies', h.copies, 'networks', h.networks,
                          'countries', h.countries, 'seats', s.seats,
                          'unscored', CASE WHEN h.counted <= coalesce(s.seats, 1) THEN 'environment' END) AS evidence
FROM shared AS h
LEFT JOIN sold AS s ON s.key = h.key
WHERE h.networks > CASE WHEN s.license_id IS NULL THEN 1 ELSE s.seats END
