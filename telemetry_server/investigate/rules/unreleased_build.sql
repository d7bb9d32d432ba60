/*---
id = "6aa03cb8-b57a-537e-8a53-979093215268"
title = "A build that was never released"
status = "stable"
means = "The copy has the version of a release, and a build that is none of its."
does_not_mean = "It does not say what was changed: a build of a distributor or a developer differs, too."
falsepositives = [
    "A build made for one customer, and not recorded.",
    "A build of the vendor's own developers.",
]
closes = "the build is one of the release now, or the copy stopped reporting long ago"
family = "build"
subject = "installation"
cadence = "hour"
window = 90
[parameters.days]
type = "integer"
default = 3
least = 0
most = 365
---*/
WITH released AS (
    SELECT r.version, r.builds FROM releases AS r WHERE r.product_id = :product AND cardinality(r.builds) > 0
), built AS (
    SELECT s.installation_id, s.first_received_at, s.facts #>> '{service,version}' AS version, s.facts #>> '{service,build}' AS build,
           i.last_received_at, s.state = i.state AS is_present
    FROM installations AS i
    JOIN states AS s ON s.installation_id = i.installation_id
    WHERE i.product_id = :product AND i.last_received_at >= greatest(:begin::timestamptz, :since)
      AND s.facts #>> '{service,build}' IS NOT NULL
)
SELECT b.installation_id::text AS subject_id, min(b.first_received_at) AS first_seen, max(b.last_received_at) AS last_seen,
       0.6::float8 AS strength,
       jsonb_build_object('installations', jsonb_build_array(b.installation_id),
                          'version', (array_agg(b.version ORDER BY b.first_received_at DESC))[1],
                          'build', (array_agg(b.build ORDER BY b.first_received_at DESC))[1]) AS evidence
FROM built AS b
JOIN released AS r ON r.version = b.version
WHERE NOT b.build = ANY (r.builds)
GROUP BY b.installation_id
HAVING bool_or(b.is_present) AND max(b.last_received_at) - min(b.first_received_at) >= :days * interval '1 day'
