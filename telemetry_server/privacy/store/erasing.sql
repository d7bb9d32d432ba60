-- name: erasure_of
-- The erasure of an installation that was asked for already.
SELECT erasure_id FROM erased_installations WHERE installation_id = $1;

-- name: ask
INSERT INTO erasures (erasure_id, asked_at, asked_by, reason, subject_kind, subject, installations)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: refuse_from_now_on
-- The installations $1 are erased: nothing of them is written from now on.
INSERT INTO erased_installations (installation_id, erasure_id, asked_at)
SELECT n.installation_id, $2, $3 FROM unnest($1::uuid[]) AS n (installation_id)
ON CONFLICT DO NOTHING;

-- name: waiting
-- The erasures that are not carried out.
SELECT erasure_id, asked_at, asked_by, reason, subject_kind, subject, installations
FROM erasures
WHERE done_at IS NULL
ORDER BY asked_at;

-- name: one
SELECT erasure_id, asked_at, asked_by, reason, subject_kind, subject, installations
FROM erasures
WHERE erasure_id = $1;

-- name: installations_of
SELECT installation_id FROM erased_installations WHERE erasure_id = $1 ORDER BY installation_id;

-- name: any_reported
-- Whether one of the installations $1 has a row.
SELECT EXISTS (SELECT installation_id FROM installations WHERE installation_id = ANY ($1::uuid[]));

-- name: mark_begun
-- Repeated after an interruption, the erasure is carried out as a whole, although the row of its installation is gone.
UPDATE erasures SET erased_rows = '{"installations": 0}' WHERE erasure_id = $1;

-- name: was_begun
SELECT erased_rows <> '{}' FROM erasures WHERE erasure_id = $1;

-- name: asked_since
-- The installations that were asked to be erased since $1: a write that had begun before may have stored a ping.
SELECT installation_id FROM erased_installations WHERE asked_at >= $1;

-- name: certified
UPDATE erasures SET done_at = $2, backups_until = $3, certificate = $4, erased_rows = $5::jsonb, held = $6
WHERE erasure_id = $1;

-- name: once_held
-- Those of which a hold kept rows.
SELECT erasure_id, asked_at, asked_by, reason, subject_kind, subject, installations, erased_rows::text AS erased_rows
FROM erasures
WHERE held
ORDER BY asked_at;

-- name: installations_are_done
UPDATE erased_installations SET done_at = $2 WHERE erasure_id = $1;

-- name: newest
-- The newest erasures.
SELECT erasure_id, asked_at, asked_by, reason, subject_kind, subject, installations, done_at, backups_until,
       certificate, held
FROM erasures
ORDER BY asked_at DESC
LIMIT $1;

-- name: certificate
SELECT certificate FROM erasures WHERE erasure_id = $1;

-- name: lock
SELECT last_sequence FROM installations WHERE installation_id = $1 FOR UPDATE;

-- name: addresses_of
-- The addresses that the installations reported from.
SELECT DISTINCT client_address FROM pings WHERE installation_id = ANY ($1::uuid[]) AND client_address IS NOT NULL
UNION
SELECT client_address FROM installations WHERE installation_id = ANY ($1::uuid[]) AND client_address IS NOT NULL;

-- name: addresses_in_use
SELECT DISTINCT client_address FROM installations WHERE client_address = ANY ($1::inet[]);

-- name: remove_hostnames
DELETE FROM hostnames WHERE address = ANY ($1::inet[]);

-- name: licenses_of
-- The licenses that the installations are on, whose seats are counted again.
SELECT DISTINCT license_id FROM installation_facts WHERE installation_id = ANY ($1::uuid[]) AND license_id IS NOT NULL;

-- name: recount_licenses
UPDATE licenses SET stale = true WHERE license_id = ANY ($1::uuid[]);

-- name: erase_pings
WITH done AS (DELETE FROM pings WHERE installation_id = ANY ($1::uuid[]) RETURNING 1) SELECT count(*) FROM done;

-- name: erase_installation_days
WITH done AS (DELETE FROM installation_days WHERE installation_id = ANY ($1::uuid[]) RETURNING 1)
SELECT count(*) FROM done;

-- name: erase_states
WITH done AS (DELETE FROM states WHERE installation_id = ANY ($1::uuid[]) RETURNING 1) SELECT count(*) FROM done;

-- name: erase_changes
WITH done AS (DELETE FROM changes WHERE installation_id = ANY ($1::uuid[]) RETURNING 1) SELECT count(*) FROM done;

-- name: erase_forks
WITH done AS (DELETE FROM forks WHERE installation_id = ANY ($1::uuid[]) RETURNING 1) SELECT count(*) FROM done;

-- name: erase_lineage
WITH done AS (
    DELETE FROM lineage WHERE installation_id = ANY ($1::uuid[]) OR parent_id = ANY ($1::uuid[]) RETURNING 1
)
SELECT count(*) FROM done;

-- name: erase_quarantine
WITH done AS (DELETE FROM quarantine WHERE installation_id = ANY ($1::uuid[]) RETURNING 1) SELECT count(*) FROM done;

-- name: erase_followed_installations
-- What the page "Live" shows of them.
WITH done AS (DELETE FROM followed_installations WHERE installation_id = ANY ($1::uuid[]) RETURNING 1)
SELECT count(*) FROM done;

-- name: erase_support_grants
WITH done AS (DELETE FROM support_grants WHERE installation_id = ANY ($1::uuid[]) RETURNING 1)
SELECT count(*) FROM done;

-- name: erase_installation_levels
WITH done AS (DELETE FROM installation_levels WHERE installation_id = ANY ($1::uuid[]) RETURNING 1)
SELECT count(*) FROM done;

-- name: erase_restricted_installations
WITH done AS (DELETE FROM restricted_installations WHERE installation_id = ANY ($1::uuid[]) RETURNING 1)
SELECT count(*) FROM done;

-- name: erase_case_rows
-- What cases hold of them.
WITH done AS (DELETE FROM case_rows WHERE installation_id = ANY ($1::uuid[]) RETURNING 1) SELECT count(*) FROM done;

-- name: erase_installation_facts
WITH done AS (DELETE FROM installation_facts WHERE installation_id = ANY ($1::uuid[]) RETURNING 1)
SELECT count(*) FROM done;

-- name: erase_installations
WITH done AS (DELETE FROM installations WHERE installation_id = ANY ($1::uuid[]) RETURNING 1)
SELECT count(*) FROM done;

-- name: erase_clear_up_items
-- What is to be cleared up about them, with what people noted.
WITH done AS (DELETE FROM clear_up_items WHERE subject = ANY ($1::text[]) RETURNING 1) SELECT count(*) FROM done;

-- name: erase_saved_views
-- Those whose address has one of the ids $1, or matches one of the patterns $2.
WITH done AS (
    DELETE FROM saved_views AS v
    WHERE EXISTS (SELECT t.word FROM unnest($1::text[]) AS t (word) WHERE strpos(lower(v.address), t.word) > 0)
       OR lower(v.address) ~ ANY ($2::text[])
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: erase_chart_notes
-- Those that have one of the ids $1, or match one of the patterns $2.
WITH done AS (
    DELETE FROM chart_notes AS n
    WHERE EXISTS (SELECT t.word FROM unnest($1::text[]) AS t (word) WHERE strpos(lower(n.note), t.word) > 0)
       OR lower(n.note) ~ ANY ($2::text[])
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: copies_of
-- The installations on the licenses of a customer.
SELECT installation_id FROM installation_facts WHERE license_id = ANY ($1::uuid[]);

-- name: licenses_of_customer
SELECT license_id FROM licenses WHERE customer_id = $1;

-- name: release_licenses
-- The licenses of the customer without anything that says whose they are; their keys and terms stay.
WITH done AS (
    UPDATE licenses SET
        customer_id = NULL, order_reference = NULL, custom = '{}', domains = '{}', directories = '{}',
        addresses = '{}', updated_at = $2, stale = true
    WHERE customer_id = $1
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: erase_license_changes
-- The same of the history of the licenses $1.
UPDATE registry_changes SET
    before = before - '{customer_id,order_reference,custom,domains,directories,addresses}'::text[],
    after  = after - '{customer_id,order_reference,custom,domains,directories,addresses}'::text[],
    reason = NULL
WHERE entity = 'license' AND entity_id = ANY ($1::text[]);

-- name: erase_customer_changes
WITH done AS (DELETE FROM registry_changes WHERE entity = 'customer' AND entity_id = $1 RETURNING 1)
SELECT count(*) FROM done;

-- name: erase_license_items
WITH done AS (DELETE FROM clear_up_items WHERE license_id = ANY ($1::uuid[]) RETURNING 1) SELECT count(*) FROM done;

-- name: erase_customer_notes
WITH done AS (DELETE FROM customer_notes WHERE customer_id = $1 RETURNING 1) SELECT count(*) FROM done;

-- name: erase_customers
-- With its level.
WITH done AS (DELETE FROM customers WHERE customer_id = $1 RETURNING 1) SELECT count(*) FROM done;

-- name: any_without_leaf
SELECT EXISTS (SELECT FROM audit_waiting);

-- name: audit_leaves_of
-- The numbers of the entries about these subjects.
SELECT l.leaf
FROM audit_entries AS e JOIN audit_leaves AS l USING (entry_id)
WHERE e.action <> 'audit.erase' AND e.subject_id = ANY ($1::text[]);

-- name: audit_leaves
-- The numbers of the entries about these subjects, and of those whose details have one of the ids $2 or match one of
-- the patterns $3.
SELECT l.leaf
FROM audit_entries AS e JOIN audit_leaves AS l USING (entry_id)
WHERE e.action <> 'audit.erase'
  AND (e.subject_id = ANY ($1::text[])
       OR EXISTS (SELECT t.word FROM unnest($2::text[]) AS t (word) WHERE strpos(lower(e.details::text), t.word) > 0)
       OR lower(e.details::text) ~ ANY ($3::text[]));

-- name: cases_about
-- The cases about one of the ids $1, and those that have no finding but about them.
SELECT c.case_id
FROM cases AS c
WHERE c.subject_id = ANY ($1::text[])
   OR EXISTS (
          SELECT m.case_id
          FROM case_findings AS m
          JOIN findings AS f ON f.finding_id = m.finding_id
          WHERE m.case_id = c.case_id
            AND (f.subject_id = ANY ($1::text[]) OR f.evidence -> 'installations' ?| $1::text[])
      )
      AND NOT EXISTS (
          SELECT m.case_id
          FROM case_findings AS m
          JOIN findings AS f ON f.finding_id = m.finding_id
          WHERE m.case_id = c.case_id
            AND (f.subject_id = ANY ($1::text[]) OR f.evidence -> 'installations' <@ to_jsonb($1::text[])) IS NOT TRUE
      );

-- name: erase_findings
WITH done AS (
    DELETE FROM findings
    WHERE subject_id = ANY ($1::text[])
       OR evidence -> 'installations' ?| $1::text[] AND evidence -> 'installations' <@ to_jsonb($1::text[])
    RETURNING 1
)
SELECT count(*) FROM done;

-- name: leave_findings
-- Takes the ids $1 out of findings that name others, too.
UPDATE findings SET evidence = jsonb_set(evidence, '{installations}', (evidence -> 'installations') - $1::text[])
WHERE evidence -> 'installations' ?| $1::text[];

-- name: erase_rows_of_cases
WITH done AS (DELETE FROM case_rows WHERE case_id = ANY ($1::uuid[]) RETURNING 1) SELECT count(*) FROM done;

-- name: erase_cases
-- With their history, files and hand-overs.
WITH done AS (DELETE FROM cases WHERE case_id = ANY ($1::uuid[]) RETURNING 1) SELECT count(*) FROM done;
