-- outside a transaction
-- Indexes for addresses, keys and what is searched for, built while pings are written: statement by statement, each of
-- which may be repeated. And the columns that people choose for the list of installations.

CREATE INDEX CONCURRENTLY IF NOT EXISTS licenses_over ON licenses (license_id) WHERE seats_used > seats;
CREATE INDEX CONCURRENTLY IF NOT EXISTS licenses_by_hint ON licenses (key_hint);
CREATE INDEX CONCURRENTLY IF NOT EXISTS customers_by_words ON customers
    USING gin (to_tsvector('simple', coalesce(company, '') || ' ' || coalesce(name, '')));
CREATE INDEX CONCURRENTLY IF NOT EXISTS customers_by_domain ON customers (split_part(lower(email), '@', 2));
CREATE INDEX CONCURRENTLY IF NOT EXISTS hostnames_by_name ON hostnames (reverse(lower(hostname)) text_pattern_ops);
CREATE INDEX CONCURRENTLY IF NOT EXISTS changes_of_key ON changes (before) WHERE field = 'license.key';
CREATE INDEX CONCURRENTLY IF NOT EXISTS installations_by_address ON installations (client_address);
CREATE INDEX CONCURRENTLY IF NOT EXISTS installation_facts_by_version_numbers ON installation_facts (version_key);
CREATE INDEX CONCURRENTLY IF NOT EXISTS installation_facts_by_life_since ON installation_facts (life_since);

ALTER TABLE people ADD COLUMN IF NOT EXISTS list_columns text[];
COMMENT ON COLUMN people.list_columns IS 'The columns of the list of installations that the person chose; NULL: the usual ones.';
