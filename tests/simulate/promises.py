"""What each story promises: a condition that holds in the rows of each of its entries in the truth.

$1 are the installations of the entry, $2 its license, $3 and $4 the begin and the end. `p` are the pings of the
installations with their states, `b` those of them in that time.
"""

WITH = """
    WITH p AS (
        SELECT g.installation_id, g.received_at, g.occurred_at, g.time_suspect, g.sequence, g.client_address,
               verdict_of(g.verdict_code) AS verdict, g.claim_mismatch, g.source_mismatch, s.facts ->> 'boot_id' AS boot,
               s.facts #>> '{host,fingerprint,machine_id}' AS machine, s.facts #>> '{host,fingerprint,board}' AS board,
               s.license_status AS claims, s.license_key_hash AS key, s.license_edition AS edition,
               s.service_environment AS environment, s.facts #>> '{service,build}' AS build,
               s.country, s.asn, s.hosting, k.license_id
        FROM pings AS g
        JOIN states AS s USING (installation_id, state)
        LEFT JOIN license_keys AS k ON k.key_hash = s.license_key_hash
        WHERE g.installation_id = ANY ($1::uuid[])
    ), b AS (
        SELECT * FROM p WHERE received_at >= $3::timestamptz AND received_at <= $4::timestamptz
    ), l AS (
        SELECT * FROM licenses WHERE license_id = $2::uuid
    )
"""


def count(what, source="p", where="true"):
    return f"(SELECT count(DISTINCT {what}) FROM {source} WHERE {where})"


FORKS = "(SELECT count(*) FROM forks WHERE installation_id = ANY ($1))"
CHILDREN = "(SELECT count(*) FROM lineage WHERE installation_id = ANY ($1))"
COPIES = "cardinality($1)"
NO_RELEASE = "NOT EXISTS (SELECT FROM releases AS r WHERE b.build = ANY (r.builds))"
CUSTOMERS = """(SELECT count(DISTINCT l.customer_id) FROM p JOIN licenses AS l USING (license_id))"""
OVER_SEATS = "EXISTS (SELECT FROM b WHERE verdict = 'over_seats')"
CLAIMS_LICENSED = "(SELECT bool_and(claims = 'licensed') FROM b)"


def verdict(name):
    return f"(SELECT bool_and(verdict = '{name}') FROM b)"


PROMISES = {
    "failover_pair": f"{count('machine')} = 2 AND {count('installation_id')} = 1 AND {FORKS} = 0",
    "restored_snapshot": f"{FORKS} = 1 AND {CHILDREN} = 1 AND {count('machine')} = 1 AND {count('installation_id', 'b')} = 1",
    "golden_image": f"{count('machine')} = 1 AND {count('board')} = {COPIES} AND {FORKS} = {COPIES} - 1"
    f" AND {CHILDREN} = {COPIES} - 1",
    "nat_office": f"{count('client_address')} = 1 AND {COPIES} >= 3 AND {verdict('valid')}",
    "vpn_office": f"{count('client_address')} >= 3 AND {count('machine')} = 1 AND {count('country')} > 1",
    "moving_office": f"{count('asn')} > 1 AND {count('machine')} <= {COPIES}",
    "cdn_egress": f"{count('client_address')} >= 3 AND (SELECT bool_and(hosting::boolean) FROM p)",
    "staging_with_production_key": f"{COPIES} + 1 > (SELECT seats FROM l) AND {count('environment')} >= 1"
    " AND (SELECT seats_used <= seats FROM l) AND (SELECT bool_and(environment <> 'production') FROM p)",
    "late_renewal": "(SELECT expires_at > $4 FROM l) AND EXISTS (SELECT FROM p WHERE verdict = 'valid' AND received_at > $4)"
    f" AND (NOT EXISTS (SELECT FROM b) OR {verdict('expired')})",
    "wrong_clock": "EXISTS (SELECT FROM b WHERE time_suspect OR received_at - occurred_at > interval '1 hour')",
    "hosting_move": f"{count('machine')} = 2 AND {COPIES} = 2 AND {count('client_address')} >= 2",
    "reseller_network": f"{count('asn')} = 1 AND {CUSTOMERS} = {COPIES} AND {COPIES} >= 3",
    "agency": f"{count('machine')} = 1 AND {count('boot')} = 1 AND {count('client_address')} = 1 AND {CUSTOMERS} = {COPIES}",
    "reinstall_after_crash": f"{count('board')} = 1 AND {count('machine')} = {COPIES} AND {CHILDREN} = 0",
    "long_silence": "EXISTS (SELECT FROM changes WHERE installation_id = ANY ($1) AND field = 'life' AND after = 'returned')"
    " AND (SELECT first_received_at < $3 - interval '2 years' FROM installations WHERE installation_id = ANY ($1))",
    "container_fleet": f"{count('boot')} = 1 AND {count('machine')} = {COPIES} AND (SELECT count(*) FROM p) = {COPIES}"
    " AND {COPIES} >= 6 AND (SELECT seats IS NULL FROM l)".format(COPIES=COPIES),
    "provider_outage": f"{count('asn')} = 1 AND NOT EXISTS (SELECT FROM b) AND {count('installation_id', 'p', 'received_at > $4')} = {COPIES}",
    "wrong_source": "(SELECT bool_and(source_mismatch) FROM p)",
    "short_evaluation": "EXISTS (SELECT FROM p WHERE verdict = 'no_key' AND claims = 'unlicensed') AND $4 - $3 <= interval '14 days'",
    "key_shared_by_friends": f"{OVER_SEATS} AND {count('asn', 'b')} >= 1 AND {CHILDREN} = 0",
    "key_in_a_forum": f"{OVER_SEATS} AND {count('country', 'b')} >= 3",
    "nulled_distribution": f"{verdict('unknown_key')} AND {CLAIMS_LICENSED} AND {count('key', 'b')} = 1"
    f" AND NOT EXISTS (SELECT FROM b WHERE NOT {NO_RELEASE}) AND {COPIES} >= 3",
    "live_clone": f"{count('boot', 'b')} = 2 AND {count('machine', 'b')} = 2 AND {FORKS} >= 2",
    "cloned_state_directory": f"{CHILDREN} = 1 AND {OVER_SEATS} AND {count('machine')} = 1",
    "over_seats_slowly": OVER_SEATS,
    "over_seats_at_once": OVER_SEATS,
    "trial_chain": f"{count('machine')} = 1 AND {CUSTOMERS} = {COPIES} AND {count('installation_id')} = {COPIES}",
    "revoked_key_in_use": f"{verdict('revoked')} AND {CLAIMS_LICENSED} AND (SELECT status = 'revoked' FROM l)",
    "refunded_key_in_use": f"{verdict('revoked')} AND {CLAIMS_LICENSED} AND (SELECT status = 'refunded' FROM l)",
    "patched_build": f"{verdict('expired')} AND {CLAIMS_LICENSED} AND NOT EXISTS (SELECT FROM b WHERE NOT {NO_RELEASE})",
    "patched_without_key": f"{verdict('no_key')} AND {CLAIMS_LICENSED} AND (SELECT bool_and(claim_mismatch) FROM b)",
    "wrong_product": f"{verdict('wrong_product')} AND (SELECT count(*) FROM l) = 1",
    "clock_set_back": f"{verdict('expired')} AND (SELECT bool_and(received_at - occurred_at > interval '1 day') FROM b)"
    " AND NOT (SELECT bool_or(time_suspect OR claim_mismatch) FROM b)",
    "cheap_country_key": "(SELECT bool_and(country <> (SELECT custom ->> 'territory' FROM l)) FROM b)",
    "unlicensed_in_production": f"{verdict('no_key')} AND (SELECT bool_and(environment = 'production') FROM b)",
    "coworking_space": f"{count('client_address')} = 1 AND {CUSTOMERS} = {COPIES}",
    "autoscaling_group": f"{COPIES} >= 4 AND {verdict('valid')}",
    "disaster_drill": f"{OVER_SEATS} AND {CHILDREN} = {COPIES} AND $4 - $3 < interval '5 days'",
    "key_registered_late": f"{verdict('unknown_key')} AND EXISTS (SELECT FROM p WHERE verdict = 'valid' AND received_at > $4)",
    "mobile_carrier": f"{count('asn')} = 1 AND {CUSTOMERS} = {COPIES} AND {count('client_address')} BETWEEN 1 AND 7 + {COPIES}",
    "merged_companies": "EXISTS (SELECT FROM registry_changes WHERE entity_id = $2::text AND after ? 'customer_id' AND before IS NOT NULL)",
    "beta_programme": f"{verdict('valid')} AND NOT EXISTS (SELECT FROM b WHERE NOT {NO_RELEASE})",
    "seats_bought_late": "(SELECT seats >= seats_used FROM l) AND"
    " EXISTS (SELECT FROM registry_changes WHERE entity_id = $2::text AND after ? 'seats' AND before IS NOT NULL)",
    "hotfix_build": f"{verdict('valid')} AND NOT EXISTS (SELECT FROM b WHERE received_at < $4 AND NOT {NO_RELEASE})",
    "key_mixed_up": "EXISTS (SELECT FROM p WHERE verdict = 'wrong_product' AND received_at <= $4)"
    " AND EXISTS (SELECT FROM p WHERE verdict = 'valid' AND received_at > $4)",
    "refund_winding_down": f"(SELECT status = 'refunded' FROM l) AND $4 - $3 <= interval '14 days' AND"
    f" {count('installation_id', 'p', 'received_at > $4')} = 0",
    "hosted_abroad": "(SELECT bool_and(hosting::boolean AND country <> (SELECT custom ->> 'territory' FROM l)) FROM p)",
    "suspended_for_days": "(SELECT status = 'active' FROM l) AND EXISTS (SELECT FROM p WHERE verdict = 'valid')"
    f" AND {count('verdict', 'b')} <= 1",
    "key_sold_twice": f"{OVER_SEATS} AND {COPIES} >= 2",
    "weekend_clone": f"{FORKS} >= 1 AND {count('machine')} = 1",
    "one_key_for_a_host": f"{OVER_SEATS} AND {count('client_address')} = 1 AND {count('boot')} = 1",
    "gift_in_business": "(SELECT bool_and(source_mismatch) FROM b)",
    "rotating_seats": f"{COPIES} > (SELECT seats FROM l) AND {verdict('valid')}",
    "higher_edition": "(SELECT bool_and(edition = 'enterprise') FROM b) AND (SELECT edition = 'starter' FROM l)",
    "key_generator": f"{verdict('unknown_key')} AND {CLAIMS_LICENSED}",
}
