/*---
id = "83aa50bd-3c32-5a88-98cd-82b098f7d94e"
title = "More copies at once than seats"
status = "stable"
means = "For days in all, more copies of a license reported at the same time than its seats, overage and leeway allow."
does_not_mean = "It does not say which copy is one too many, nor that anyone meant it."
falsepositives = [
    "A move to another server, during which both run for some days.",
    "A test system that does not say it is one.",
]
closes = "the license has enough seats now, or its copies stopped reporting long ago"
family = "copy"
subject = "license"
cadence = "hour"
window = 90
[parameters.days]
type = "integer"
default = 7
least = 0
most = 365
[parameters.leeway]
type = "number"
default = 0.1
least = 0
most = 5
---*/
WITH allowed AS (
    SELECT l.license_id, floor(l.seats * (1 + :leeway) * CASE l.overage WHEN '1.25x' THEN 1.25 WHEN '1.5x' THEN 1.5
                                                        WHEN '2x' THEN 2 ELSE 1 END) AS copies, l.seats
    FROM licenses AS l
    WHERE l.product_id = :product AND l.seats IS NOT NULL AND l.overage <> 'any'
), spans AS (
    SELECT f.license_id, f.installation_id, f.first_received_at AS first, i.last_received_at AS last,
           NOT (lower(f.environment) = ANY (:free::text[]) OR i.client_address <<= ANY (:allowed::cidr[]) IS TRUE) AS counts
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    WHERE f.product_id = :product AND f.license_id IS NOT NULL AND f.verdict <> 'wrong_product'
      AND i.last_received_at >= :begin
), news AS (
    SELECT s.license_id FROM spans AS s GROUP BY s.license_id HAVING max(s.last) >= :since
), steps AS (
    SELECT s.license_id, e.at, sum(e.change) AS change, sum(e.change) FILTER (WHERE s.counts) AS counted
    FROM spans AS s
    JOIN news AS n ON n.license_id = s.license_id
    CROSS JOIN LATERAL (VALUES (s.first, 1), (s.last, -1)) AS e (at, change)
    GROUP BY s.license_id, e.at
), running AS (
    SELECT t.license_id, t.at, lead(t.at) OVER w AS until, sum(t.change) OVER w AS copies,
           sum(coalesce(t.counted, 0)) OVER w AS counted
    FROM steps AS t
    WINDOW w AS (PARTITION BY t.license_id ORDER BY t.at)
), over AS (
    SELECT r.license_id, a.seats, min(r.at) AS first, max(r.until) AS last, max(r.copies) AS copies,
           max(r.counted) AS counted, sum(r.until - r.at) AS time,
           sum(r.until - r.at) FILTER (WHERE r.counted > a.copies) AS counted_time
    FROM running AS r
    JOIN allowed AS a ON a.license_id = r.license_id
    WHERE r.copies > a.copies AND r.until IS NOT NULL
    GROUP BY r.license_id, a.seats
)
SELECT o.license_id::text AS subject_id, o.first AS first_seen, o.last AS last_seen,
       least(0.9, 0.2 + 0.4 * (o.copies - o.seats) / o.seats)::float8 AS strength,
       jsonb_build_object('installations', to_jsonb((array_agg(s.installation_id ORDER BY s.last DESC))[1:500]),
                          'seats', o.seats, 'copies', o.copies, 'days', round(extract(epoch FROM o.time) / 86400, 1),
                          'unscored', CASE WHEN coalesce(o.counted_time < :days * interval '1 day', true)
                                           THEN 'environment' END) AS evidence
FROM over AS o
JOIN spans AS s ON s.license_id = o.license_id
WHERE o.time >= :days * interval '1 day'
GROUP BY o.license_id, o.first, o.last, o.copies, o.counted, o.seats, o.time, o.counted_time
