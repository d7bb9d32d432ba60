-- name: changed_fields
-- In how many copies each of the fields $1 changed from $2 until before $3.
SELECT c.field, count(DISTINCT c.installation_id) AS copies
FROM changes AS c
JOIN installation_facts AS f ON f.installation_id = c.installation_id
WHERE c.field = ANY ($1::text[]) AND c.changed_at >= $2 AND c.changed_at < $3 AND TRUE /*:products*/
GROUP BY c.field;

-- name: transitions
-- The $1 most frequent changes of the field $2 from $3 until before $4: in how many copies, how many days after their
-- first ping on average, and the last one.
SELECT c.before, c.after, count(DISTINCT c.installation_id) AS copies,
       (avg(extract(epoch FROM c.changed_at - f.first_received_at)) / 86400)::float8 AS days, max(c.changed_at) AS last_at
FROM changes AS c
JOIN installation_facts AS f ON f.installation_id = c.installation_id
WHERE c.field = $2 AND c.changed_at >= $3 AND c.changed_at < $4 AND TRUE /*:products*/
GROUP BY c.before, c.after
ORDER BY copies DESC, c.before, c.after
LIMIT $1;
