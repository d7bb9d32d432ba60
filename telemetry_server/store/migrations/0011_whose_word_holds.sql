-- A product's time zone, in which dates of its licenses are days; networks that are recorded and not
-- enforced; customers known by their account elsewhere; when the shop said what of a license.

ALTER TABLE products
    ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC' CHECK (length(time_zone) BETWEEN 1 AND 64);
COMMENT ON COLUMN products.time_zone IS
    'The IANA name of the time zone in which its licenses'' dates are days. Set by "product add" and "product change".';

ALTER TABLE customers ADD COLUMN account text CHECK (length(account) BETWEEN 1 AND 256);
CREATE UNIQUE INDEX customers_account_is_unique ON customers (account);
COMMENT ON COLUMN customers.account IS
    'Which account of a marketplace or another system it is, e.g. envato:ann_lee; tells customers apart who have no e-mail.';

ALTER TABLE licenses ADD COLUMN addresses_enforced boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN licenses.addresses IS
    'Networks the installations must report from; empty: anywhere. Recorded only where addresses_enforced is false. '
    'domains and directories are recorded for people.';

CREATE TABLE shop_fields (
    license_id  uuid        NOT NULL REFERENCES licenses ON DELETE CASCADE,
    field       text        NOT NULL CHECK (length(field) BETWEEN 1 AND 128),
    happened_at timestamptz NOT NULL,
    webhook_id  text        NOT NULL CHECK (length(webhook_id) BETWEEN 1 AND 256),
    PRIMARY KEY (license_id, field)
);
COMMENT ON TABLE shop_fields IS
    'A row is a field of a license that the shop set: when that happened, and in which message. A message that comes '
    'late changes only what no later one set. Written by the webhook. Kept as long as the license.';

ALTER TABLE webhook_deliveries DROP COLUMN key_hash, DROP COLUMN happened_at;
COMMENT ON TABLE webhook_deliveries IS
    'A row is a message of the shop that was carried out: a repeated one is not. Written by the webhook. Kept 30 '
    'days by the job "forget deliveries".';

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
       ((l.expires_at - interval '1 microsecond') AT TIME ZONE p.time_zone)::date AS last_day
FROM licenses AS l
JOIN products AS p USING (product_id);
COMMENT ON COLUMN v_licenses.addresses IS
    'Networks its installations must report from, or should, see addresses_enforced; none: anywhere.';
COMMENT ON COLUMN v_licenses.expires_at IS 'When it ends: the first moment at which it is no longer good.';
COMMENT ON COLUMN v_licenses.addresses_enforced IS 'Whether another address than those is a wrong_place.';
COMMENT ON COLUMN v_licenses.first_day IS 'The day it starts, in its product''s time zone.';
COMMENT ON COLUMN v_licenses.last_day IS 'The last day on which it is good, in its product''s time zone.';
