-- name: installations_on
-- The installations on the licenses of a customer.
SELECT f.installation_id
FROM installation_facts AS f
WHERE f.license_id = ANY ($1::uuid[])
ORDER BY f.installation_id;

-- name: licenses_of
SELECT license_id FROM licenses WHERE customer_id = $1 ORDER BY license_id;

-- name: installations
SELECT to_jsonb(x)::text AS row FROM installations AS x WHERE x.installation_id = ANY ($1::uuid[]) ORDER BY x.installation_id;

-- name: installation_facts
SELECT to_jsonb(x)::text AS row FROM installation_facts AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id;

-- name: states
SELECT to_jsonb(x)::text AS row FROM states AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id, x.first_received_at;

-- name: pings
-- With the facts of their states, and their counters by name.
SELECT to_jsonb(x)::text AS row FROM v_pings AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id, x.sequence;

-- name: installation_days
SELECT to_jsonb(x)::text AS row FROM v_installation_days AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id, x.day;

-- name: changes
SELECT to_jsonb(x)::text AS row FROM changes AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id, x.changed_at, x.sequence, x.field;

-- name: forks
SELECT to_jsonb(x)::text AS row FROM forks AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id, x.sequence, x.ping_id;

-- name: lineage
SELECT to_jsonb(x)::text AS row FROM lineage AS x
WHERE x.installation_id = ANY ($1::uuid[]) OR x.parent_id = ANY ($1::uuid[])
ORDER BY x.installation_id;

-- name: quarantine
SELECT (to_jsonb(x) || jsonb_build_object('body', convert_from(x.body, 'UTF8')))::text AS row
FROM quarantine AS x
WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id, x.sequence, x.ping_id;

-- name: followed_installations
SELECT to_jsonb(x)::text AS row FROM followed_installations AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id;

-- name: support_grants
SELECT to_jsonb(x)::text AS row FROM support_grants AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id, x.received_at, x.grant_id;

-- name: case_rows
SELECT to_jsonb(x)::text AS row FROM case_rows AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id, x.case_id, x.kind, x.happened_at, x.row_key;

-- name: installation_levels
SELECT to_jsonb(x)::text AS row FROM installation_levels AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id;

-- name: erased_installations
SELECT to_jsonb(x)::text AS row FROM erased_installations AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id;

-- name: restricted_installations
SELECT to_jsonb(x)::text AS row FROM restricted_installations AS x WHERE x.installation_id = ANY ($1::uuid[])
ORDER BY x.installation_id;

-- name: addresses
SELECT DISTINCT client_address FROM pings WHERE installation_id = ANY ($1::uuid[]) AND client_address IS NOT NULL;

-- name: hostnames
SELECT to_jsonb(x)::text AS row FROM hostnames AS x WHERE x.address = ANY ($1::inet[]) ORDER BY x.address;

-- name: customers
SELECT to_jsonb(x)::text AS row FROM customers AS x WHERE x.customer_id = $1;

-- name: customer_notes
SELECT to_jsonb(x)::text AS row FROM customer_notes AS x WHERE x.customer_id = $1 ORDER BY x.written_at;

-- name: customer_levels
SELECT to_jsonb(x)::text AS row FROM customer_levels AS x WHERE x.customer_id = $1;

-- name: access_links
-- Without the digests, which stand for the links.
SELECT (to_jsonb(x) - 'digest')::text AS row FROM access_links AS x WHERE x.customer_id = $1 ORDER BY x.created_at;

-- name: licenses
SELECT to_jsonb(x)::text AS row FROM licenses AS x WHERE x.license_id = ANY ($1::uuid[]) ORDER BY x.license_id;

-- name: license_keys
SELECT to_jsonb(x)::text AS row FROM license_keys AS x WHERE x.license_id = ANY ($1::uuid[])
ORDER BY x.license_id, x.key_hash;

-- name: shop_fields
SELECT to_jsonb(x)::text AS row FROM shop_fields AS x WHERE x.license_id = ANY ($1::uuid[])
ORDER BY x.license_id, x.field;

-- name: registry_changes
SELECT to_jsonb(x)::text AS row FROM registry_changes AS x WHERE x.entity_id = ANY ($1::text[])
ORDER BY x.changed_at, x.change_id;

-- name: clear_up_items
-- Doubts about an installation or a license: findings of the server about the subject.
SELECT to_jsonb(x)::text AS row FROM clear_up_items AS x
WHERE x.subject = ANY ($1::text[]) OR x.license_id::text = ANY ($1::text[])
ORDER BY x.clear_up_id;

-- name: clear_up_changes
SELECT to_jsonb(x)::text AS row
FROM clear_up_changes AS x
JOIN clear_up_items AS i USING (clear_up_id)
WHERE i.subject = ANY ($1::text[]) OR i.license_id::text = ANY ($1::text[])
ORDER BY x.changed_at, x.change_id;

-- name: findings
-- Without the evidence, which may name installations of others.
SELECT (to_jsonb(x) - 'evidence')::text AS row FROM findings AS x WHERE x.subject_id = ANY ($1::text[])
ORDER BY x.opened_at, x.finding_id;

-- name: cases
SELECT to_jsonb(x)::text AS row FROM cases AS x WHERE x.subject_id = ANY ($1::text[]) ORDER BY x.opened_at, x.case_id;

-- name: case_findings
SELECT to_jsonb(x)::text AS row FROM case_findings AS x JOIN cases AS c USING (case_id) WHERE c.subject_id = ANY ($1::text[])
ORDER BY x.added_at, x.finding_id;

-- name: case_history
SELECT to_jsonb(x)::text AS row FROM case_history AS x JOIN cases AS c USING (case_id) WHERE c.subject_id = ANY ($1::text[])
ORDER BY x.at, x.history_id;

-- name: case_attachments
SELECT to_jsonb(x)::text AS row FROM case_attachments AS x JOIN cases AS c USING (case_id) WHERE c.subject_id = ANY ($1::text[])
ORDER BY x.added_at, x.attachment_id;

-- name: case_holds
SELECT to_jsonb(x)::text AS row FROM case_holds AS x JOIN cases AS c USING (case_id) WHERE c.subject_id = ANY ($1::text[])
ORDER BY x.held_at, x.case_id;

-- name: case_handovers
SELECT to_jsonb(x)::text AS row FROM case_handovers AS x JOIN cases AS c USING (case_id) WHERE c.subject_id = ANY ($1::text[])
ORDER BY x.exported_at, x.handover_id;

-- name: case_pauses
SELECT to_jsonb(x)::text AS row FROM case_pauses AS x JOIN cases AS c USING (case_id) WHERE c.subject_id = ANY ($1::text[])
ORDER BY x.begun_at, x.pause_id;

-- name: audit_entries
-- Who looked at the subject or changed something, without the salts.
SELECT (to_jsonb(x) - 'salt')::text AS row
FROM audit_entries AS x
WHERE x.subject_id = ANY ($1::text[])
ORDER BY x.recorded_at, x.entry_id;

-- name: erasures
SELECT to_jsonb(x)::text AS row FROM erasures AS x WHERE x.subject = ANY ($1::text[]) ORDER BY x.asked_at;

-- name: subject_requests
SELECT to_jsonb(x)::text AS row FROM subject_requests AS x WHERE x.subject::text = ANY ($1::text[]) ORDER BY x.filed_at;

-- name: subject_request_steps
SELECT to_jsonb(x)::text AS row
FROM subject_request_steps AS x
JOIN subject_requests AS r USING (request_id)
WHERE r.subject::text = ANY ($1::text[])
ORDER BY x.at, x.step_id;

-- name: holds
SELECT to_jsonb(x)::text AS row FROM holds AS x WHERE x.subject::text = ANY ($1::text[]) ORDER BY x.proposed_at;

-- name: held_rows
SELECT to_jsonb(x)::text AS row
FROM held_rows AS x
JOIN holds AS h USING (hold_id)
WHERE h.subject::text = ANY ($1::text[]) OR x.held ->> 'installation_id' = ANY ($1::text[])
ORDER BY x.hold_id, x.table_name, x.row_key;

-- name: restrictions
SELECT to_jsonb(x)::text AS row FROM restrictions AS x WHERE x.subject::text = ANY ($1::text[]) ORDER BY x.begun_at;

-- name: disclosures
SELECT to_jsonb(x)::text AS row FROM disclosures AS x WHERE x.subject::text = ANY ($1::text[])
ORDER BY x.disclosed_at, x.disclosure_id;

-- name: notices
-- The versions of the notice that the pings name.
SELECT to_jsonb(x)::text AS row FROM notices AS x WHERE x.version = ANY ($1::text[]) ORDER BY x.version, x.language;

-- name: notices_named
SELECT DISTINCT privacy_notice_version AS version
FROM states
WHERE installation_id = ANY ($1::uuid[]) AND privacy_notice_version IS NOT NULL;

-- name: add_link
INSERT INTO access_links (digest, customer_id, created_at, created_by, expires_at, portable, recipient)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: open_link
-- The customer of a link that was not used, without using it.
SELECT customer_id, portable, recipient FROM access_links WHERE digest = $1 AND used_at IS NULL AND expires_at > $2;

-- name: use_link
UPDATE access_links SET used_at = $2 WHERE digest = $1 AND used_at IS NULL AND expires_at > $2
RETURNING customer_id, portable, recipient;

-- name: forget_links
WITH done AS (DELETE FROM access_links WHERE expires_at < $1 RETURNING 1) SELECT count(*) FROM done;
