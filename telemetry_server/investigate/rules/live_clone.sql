/*---
id = "037904eb-2438-561d-a577-98324aad1117"
title = "Two copies continue one identity side by side"
status = "stable"
means = "Copies of one identity report in the same intervals again and again: each goes on on its own."
does_not_mean = "A restored snapshot, a failover and an image for many servers also copy an identity, but only one continues it, or each starts anew."
falsepositives = [
    "A failover pair that switches often.",
    "A staging copy that is cloned from production and does not say it is one.",
]
closes = "the copies no longer report side by side"
family = "copy"
subject = "installation"
cadence = "hour"
window = 90
[parameters.times]
type = "integer"
default = 3
least = 2
most = 100
[parameters.share]
type = "number"
default = 0.5
least = 0
most = 1
[parameters.boot_days]
type = "integer"
default = 14
least = 1
most = 90
---*/
WITH members AS (
    SELECT l.parent_id AS root, l.installation_id FROM lineage AS l WHERE l.product_id = :product
    UNION
    SELECT l.parent_id, l.parent_id FROM lineage AS l WHERE l.product_id = :product
), reports AS (
    SELECT m.root, m.installation_id, g.received_at,
           date_bin(make_interval(secs => p.ping_interval_seconds), g.received_at, 'epoch') AS interval,
           NOT (lower(f.environment) = ANY (:free::text[]) OR g.client_address <<= ANY (:allowed::cidr[]) IS TRUE) AS counts
    FROM members AS m
    JOIN installation_facts AS f ON f.installation_id = m.installation_id
    JOIN pings AS g ON g.installation_id = m.installation_id
    JOIN products AS p ON p.product_id = f.product_id
    WHERE g.received_at >= :begin
), intervals AS (
    SELECT r.root, r.interval, min(r.received_at) AS first, max(r.received_at) AS last,
           count(DISTINCT r.installation_id) AS copies,
           count(DISTINCT r.installation_id) FILTER (WHERE r.counts) AS counted,
           bool_or(r.installation_id = r.root) AS has_original
    FROM reports AS r
    GROUP BY r.root, r.interval
), together AS (
    SELECT v.root, 'lineage' AS sign, min(v.first) AS first, max(v.last) AS last, count(*) AS times,
           count(*) FILTER (WHERE v.counted > 1) AS counted, (array_agg(v.last ORDER BY v.last))[:times] AS seen_at
    FROM intervals AS v
    WHERE v.copies > 1 AND v.has_original
    GROUP BY v.root
), begun AS (
    SELECT t.root, t.sign, t.first, t.last, t.times, t.counted, t.seen_at
    FROM together AS t
    JOIN intervals AS v ON v.root = t.root AND v.first >= t.first
    GROUP BY t.root, t.sign, t.first, t.last, t.times, t.counted, t.seen_at
    HAVING t.times >= :share * count(*)
), forked AS (
    SELECT k.installation_id AS root, 'forks' AS sign, min(k.received_at) AS first, max(k.received_at) AS last,
           count(DISTINCT date_bin(make_interval(secs => p.ping_interval_seconds), k.received_at, 'epoch')) AS times,
           count(DISTINCT date_bin(make_interval(secs => p.ping_interval_seconds), k.received_at, 'epoch'))
               FILTER (WHERE NOT (lower(f.environment) = ANY (:free::text[])
                                  OR k.client_address <<= ANY (:allowed::cidr[]) IS TRUE)) AS counted,
           (array_agg(k.received_at ORDER BY k.received_at))[:times] AS seen_at
    FROM forks AS k
    JOIN installation_facts AS f ON f.installation_id = k.installation_id
    JOIN products AS p ON p.product_id = f.product_id
    WHERE f.product_id = :product AND k.received_at >= :begin
    GROUP BY k.installation_id, coalesce(k.facts ->> 'boot_id', host(k.client_address))
), boots AS (
    SELECT s.installation_id
    FROM states AS s
    JOIN installations AS i ON i.installation_id = s.installation_id
    WHERE i.product_id = :product AND i.last_received_at >= :since AND s.facts ? 'boot_id'
    GROUP BY s.installation_id
    HAVING count(DISTINCT s.facts ->> 'boot_id') > 1
), booted AS (
    SELECT g.installation_id, g.sequence, g.received_at, g.reason_code, s.facts ->> 'boot_id' AS boot,
           lag(s.facts ->> 'boot_id') OVER (PARTITION BY g.installation_id ORDER BY g.sequence) AS boot_before,
           min(g.sequence) OVER (PARTITION BY g.installation_id, s.facts ->> 'boot_id') AS boot_since
    FROM boots AS b
    JOIN pings AS g ON g.installation_id = b.installation_id
    JOIN states AS s ON s.installation_id = g.installation_id AND s.state = g.state
    WHERE g.received_at >= greatest(:begin::timestamptz, :now::timestamptz - :boot_days * interval '1 day')
), interleaved AS (
    SELECT b.installation_id AS root, 'boots' AS sign, min(b.received_at) AS first, max(b.received_at) AS last,
           count(*) AS times, count(*) AS counted, (array_agg(b.received_at ORDER BY b.received_at))[:times] AS seen_at
    FROM booted AS b
    WHERE b.boot <> b.boot_before AND b.boot_since < b.sequence AND b.reason_code IS DISTINCT FROM 1
    GROUP BY b.installation_id
), signs AS (
    SELECT root, sign, first, last, times, counted, seen_at FROM begun
    UNION ALL
    SELECT root, sign, first, last, times, counted, seen_at FROM forked
    UNION ALL
    SELECT root, sign, first, last, times, counted, seen_at FROM interleaved
), found AS (
    SELECT g.root, min(g.first) AS first, max(g.last) AS last, min(g.seen_at) AS seen_at, count(*) AS signs,
           bool_or(g.counted >= :times) AS counts, jsonb_object_agg(g.sign, g.times) AS times
    FROM signs AS g
    WHERE g.times >= :times
    GROUP BY g.root
)
SELECT o.root::text AS subject_id, o.first AS first_seen, o.last AS last_seen,
       least(0.95, 0.6 + 0.15 * o.signs)::float8 AS strength,
       jsonb_build_object('installations', coalesce(to_jsonb((array_agg(m.installation_id)
                              FILTER (WHERE m.installation_id IS NOT NULL))[1:500]), jsonb_build_array(o.root)),
                          'times', o.times, 'seen_at', o.seen_at,
                          'unscored', CASE WHEN NOT o.counts THEN 'environment' END) AS evidence
FROM found AS o
LEFT JOIN members AS m ON m.root = o.root
GROUP BY o.root, o.first, o.last, o.seen_at, o.signs, o.counts, o.times
