/*---
id = "380d7092-7f9d-58e7-b68d-251ba67de727"
title = "Silent since it was asked"
status = "stable"
means = "All copies of a license stopped reporting within days of a question to the customer, after weeks of regular reports."
does_not_mean = "A customer who is asked may also switch off what is no longer needed."
falsepositives = [
    "A customer who uninstalls the software after the question.",
    "A network that blocks reports since then for another reason.",
]
closes = "a copy of the license reports again"
family = "time"
subject = "license"
cadence = "hour"
window = 90
[parameters.days]
type = "integer"
default = 3
least = 0
most = 365
[parameters.before]
type = "integer"
default = 14
least = 0
most = 365
---*/
WITH asked AS (
    SELECT t.license_id, max(c.changed_at) AS at
    FROM clear_up_changes AS c
    JOIN clear_up_items AS t ON t.clear_up_id = c.clear_up_id
    WHERE t.product_id = :product AND t.license_id IS NOT NULL AND c.after ->> 'state' = 'asked'
      AND c.undone_at IS NULL AND c.changed_at >= :begin
    GROUP BY t.license_id
), reported AS (
    SELECT f.license_id, min(f.first_received_at) AS first, max(i.last_received_at) AS last,
           bool_and(f.life IN ('late', 'lost')) AS is_silent, count(*) AS copies,
           to_jsonb((array_agg(f.installation_id ORDER BY i.last_received_at DESC))[1:500]) AS installations
    FROM installation_facts AS f
    JOIN installations AS i ON i.installation_id = f.installation_id
    WHERE f.product_id = :product AND f.license_id IS NOT NULL
    GROUP BY f.license_id
)
SELECT a.license_id::text AS subject_id, a.at AS first_seen, greatest(a.at, r.last) AS last_seen,
       0.3::float8 AS strength,
       jsonb_build_object('installations', r.installations, 'copies', r.copies, 'asked_at', a.at) AS evidence
FROM asked AS a
JOIN reported AS r ON r.license_id = a.license_id
WHERE r.is_silent AND r.last BETWEEN a.at - interval '1 day' AND a.at + :days * interval '1 day'
  AND r.first <= a.at - :before * interval '1 day'
