/*---
id = "4cb003c3-84c3-5d70-830b-c1952a7c1b81"
title = "The clock was set back, and stayed so"
status = "stable"
means = "The times of a copy went back by days while its pings went on, and are behind ever since."
does_not_mean = "A machine without a battery, or a restored one, has a wrong clock as well."
falsepositives = [
    "A virtual machine that was resumed after weeks.",
    "A clock that lost its battery: it shows a time years ago, or is corrected within days.",
]
closes = "the clock of the copy is right again, or it stopped reporting long ago"
family = "time"
subject = "installation"
cadence = "hour"
window = 90
[parameters.hours]
type = "integer"
default = 24
least = 1
most = 8760
[parameters.days]
type = "integer"
default = 3
least = 0
most = 365
---*/
WITH behind AS (
    SELECT i.installation_id, i.last_received_at
    FROM installations AS i
    WHERE i.product_id = :product AND i.last_received_at >= greatest(:begin::timestamptz, :since)
      AND i.last_received_at - i.last_occurred_at BETWEEN :hours * interval '1 hour' AND interval '400 days'
), reported AS (
    SELECT g.installation_id, g.received_at, g.occurred_at, b.last_received_at,
           lag(g.occurred_at) OVER (PARTITION BY g.installation_id ORDER BY g.sequence) AS before
    FROM behind AS b
    JOIN pings AS g ON g.installation_id = b.installation_id
    WHERE g.received_at >= :begin
), turned AS (
    SELECT t.installation_id, max(t.received_at) AS at, max(t.before - t.occurred_at) AS back, t.last_received_at
    FROM reported AS t
    WHERE t.occurred_at < t.before - :hours * interval '1 hour'
      AND t.received_at - t.occurred_at > :hours * interval '1 hour'
    GROUP BY t.installation_id, t.last_received_at
)
SELECT t.installation_id::text AS subject_id, t.at AS first_seen, t.last_received_at AS last_seen,
       0.4::float8 AS strength,
       jsonb_build_object('installations', jsonb_build_array(t.installation_id),
                          'hours', round(extract(epoch FROM t.back) / 3600)) AS evidence
FROM turned AS t
WHERE t.last_received_at - t.at >= :days * interval '1 day'
