-- name: cases
-- The cases that match, those worth a look first. $1: now. $2: slugs of products. $3: to_do, waiting, paused, decided or all.
-- $4: owner. $5: a rule that is open in it. $6: the e-mail of a person whom a note mentions.
WITH seen AS (
    SELECT m.case_id, array_agg(DISTINCT f.rule ORDER BY f.rule) AS rules, count(*) AS findings,
           count(*) FILTER (WHERE x.rule IS NULL) AS counted,
           max(jsonb_array_length(f.evidence -> 'installations')) AS installations
    FROM case_findings AS m
    JOIN findings AS f ON f.finding_id = m.finding_id
    LEFT JOIN (SELECT DISTINCT p.case_id, p.rule FROM case_pauses AS p
               WHERE p.kind = 'exception' AND p.ended_at IS NULL AND p.until > $1) AS x ON x.case_id = m.case_id AND x.rule = f.rule
    WHERE m.removed_at IS NULL AND f.closed_at IS NULL
    GROUP BY m.case_id
), away AS (
    SELECT p.case_id, max(p.until) AS until, (array_agg(p.kind ORDER BY p.until DESC))[1] AS kind
    FROM case_pauses AS p
    WHERE p.kind <> 'exception' AND p.ended_at IS NULL AND p.until > $1
    GROUP BY p.case_id
), known AS (
    SELECT c.case_id, p.slug AS product, p.simulated, c.subject_kind, c.subject_id, c.name, c.state, c.wait_until, c.owner,
           c.decision, c.score, c.first_seen, c.last_seen, c.opened_at, coalesce(s.rules, '{}') AS rules,
           coalesce(s.findings, 0) AS findings, coalesce(s.installations, 0) AS installations,
           coalesce(a.kind, CASE WHEN s.findings > 0 AND s.counted = 0 THEN 'exception' END) AS paused, a.until AS paused_until
    FROM cases AS c
    JOIN products AS p ON p.product_id = c.product_id
    LEFT JOIN seen AS s ON s.case_id = c.case_id
    LEFT JOIN away AS a ON a.case_id = c.case_id
    WHERE c.merged_into IS NULL
      AND ($2::text[] IS NULL OR p.slug = ANY ($2))
      AND ($4::text IS NULL OR c.owner = $4)
      AND ($5::text IS NULL OR $5 = ANY (s.rules))
      AND ($6::text IS NULL OR EXISTS (
              SELECT h.history_id FROM case_history AS h WHERE h.case_id = c.case_id AND h.what -> 'mentions' ? $6))
)
SELECT k.*, count(*) OVER () AS total
FROM known AS k
WHERE CASE $3::text
      WHEN 'to_do' THEN k.findings > 0 AND k.paused IS NULL
                        AND (k.state IN ('open', 'reopened') OR k.state = 'waiting' AND k.wait_until <= $1)
      WHEN 'waiting' THEN k.state = 'waiting'
      WHEN 'paused' THEN k.paused IS NOT NULL
      WHEN 'decided' THEN k.state = 'decided'
      ELSE true END
ORDER BY k.score DESC, k.last_seen DESC, k.case_id
LIMIT $7 OFFSET $8;

-- name: case
SELECT c.case_id, c.product_id, p.slug AS product, p.simulated, c.subject_kind, c.subject_id, c.name, c.state, c.wait_until,
       c.owner, c.decision, c.decision_reason, c.score, c.waterfall, c.first_seen, c.last_seen, c.opened_at, c.merged_into
FROM cases AS c
JOIN products AS p ON p.product_id = c.product_id
WHERE c.case_id = $1;

-- name: findings
-- What rules saw, what is still seen first.
SELECT f.finding_id, f.rule, f.family, f.subject_kind, f.subject_id, f.strength, f.first_seen, f.last_seen, f.evidence,
       f.unscored, f.opened_at, f.closed_at, f.closed_why
FROM case_findings AS m
JOIN findings AS f ON f.finding_id = m.finding_id
WHERE m.case_id = $1 AND m.removed_at IS NULL
ORDER BY f.closed_at IS NOT NULL, f.strength DESC, f.rule, f.subject_id;

-- name: history
-- What happened to a case, the newest first.
SELECT history_id, at, by, what FROM case_history WHERE case_id = $1 ORDER BY at DESC, history_id DESC LIMIT $2;

-- name: pauses
SELECT pause_id, kind, rule, until, reason, begun_at, begun_by, ended_at
FROM case_pauses
WHERE case_id = $1
ORDER BY begun_at DESC;

-- name: handovers
SELECT handover_id, exported_at, actor, purpose, redaction, rows, encode(sha256, 'hex') AS sha256
FROM case_handovers
WHERE case_id = $1
ORDER BY exported_at;

-- name: attachments
-- The files of a case, without their content.
SELECT attachment_id, added_at, added_by, name, length(content) AS size
FROM case_attachments
WHERE case_id = $1
ORDER BY added_at;

-- name: attachment
SELECT name, content FROM case_attachments WHERE case_id = $1 AND attachment_id = $2;

-- name: attachments_with_content
SELECT name, added_at, added_by, content FROM case_attachments WHERE case_id = $1 ORDER BY added_at;

-- name: merged_cases
-- The cases that were merged into a case.
SELECT case_id, name, score FROM cases WHERE merged_into = $1 ORDER BY name, case_id;

-- name: similar
-- Other cases with open findings on the same installations, and how many of these they share.
SELECT c.case_id, c.name, c.score, c.state, count(DISTINCT e.installation_id) AS shared
FROM findings AS f
CROSS JOIN LATERAL jsonb_array_elements_text(f.evidence -> 'installations') AS e (installation_id)
JOIN case_findings AS m ON m.finding_id = f.finding_id AND m.removed_at IS NULL
JOIN cases AS c ON c.case_id = m.case_id AND c.merged_into IS NULL
WHERE f.product_id = $2 AND f.closed_at IS NULL AND c.case_id <> $1 AND e.installation_id = ANY ($3::text[])
GROUP BY c.case_id
ORDER BY shared DESC, c.score DESC
LIMIT $4;

-- name: decisions_by_rule
-- In how many decided cases a rule was confirmed, explained or left unclear.
SELECT f.rule, count(DISTINCT c.case_id) FILTER (WHERE c.decision = 'confirmed') AS confirmed,
       count(DISTINCT c.case_id) FILTER (WHERE c.decision = 'explained') AS explained,
       count(DISTINCT c.case_id) FILTER (WHERE c.decision = 'unclear') AS unclear
FROM cases AS c
JOIN case_findings AS m ON m.case_id = c.case_id AND m.removed_at IS NULL
JOIN findings AS f ON f.finding_id = m.finding_id
WHERE c.decision IS NOT NULL AND c.state IN ('decided', 'reopened')
GROUP BY f.rule
ORDER BY f.rule;
