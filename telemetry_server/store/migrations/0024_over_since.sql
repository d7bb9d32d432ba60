-- Since when more copies run on a license than it has seats, and the names of network operators. Indexes: 0031.
-- The job "judge installations" finds the times for licenses that are over their seats now.

ALTER TABLE licenses ADD COLUMN over_since timestamptz;
COMMENT ON COLUMN licenses.over_since IS
    'Since when seats_used has been above seats, allowed overage or not. NULL: it is not, or the job "judge installations" '
    'has not found out yet.';

CREATE OR REPLACE VIEW v_licenses AS
SELECT l.license_id,
       p.slug                                   AS product,
       p.simulated,
       l.key_hint,
       l.status,
       l.type,
       l.source,
       l.source_detail,
       l.order_reference,
       l.edition,
       l.seats,
       l.overage,
       l.seats_used,
       l.customer_id,
       l.domains,
       l.addresses,
       l.directories,
       l.free_environments,
       l.starts_at,
       l.expires_at,
       l.created_at,
       l.updated_at,
       l.addresses_enforced,
       (l.starts_at AT TIME ZONE p.time_zone)::date AS first_day,
       ((l.expires_at - interval '1 microsecond') AT TIME ZONE p.time_zone)::date AS last_day,
       l.over_since
FROM licenses AS l
JOIN products AS p USING (product_id);
COMMENT ON COLUMN v_licenses.over_since IS
    'Since when seats_used has been above seats, allowed overage or not; empty: it is not, or not known yet.';

CREATE TABLE operators (
    asn           text   PRIMARY KEY,
    organisation  text   NOT NULL CHECK (length(organisation) BETWEEN 1 AND 256),
    installations bigint NOT NULL CHECK (installations > 0)
);
COMMENT ON TABLE operators IS
    'A row is a network operator, its name in the places of addresses, and the number of its installations. Written by the '
    'job "count active copies" once a day, which replaces all rows. Used to search for names.';
