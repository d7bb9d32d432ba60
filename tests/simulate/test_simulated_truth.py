"""What the ground truth says was planted is there, and nothing else of the kind."""

import pytest

CLAIMS_LICENSED = "f.license_status = 'licensed'"
FOUND_BY = {
    "unknown_key": "f.license_key_hash IS NOT NULL AND k.key_hash IS NULL",
    "revoked_key_in_use": "l.status = 'revoked' AND i.last_received_at > l.updated_at",
    "suspended_key_in_use": "l.status = 'suspended' AND i.last_received_at > l.updated_at",
    "expired_claims_licensed": f"l.expires_at < i.last_received_at AND {CLAIMS_LICENSED}",
    "source_mismatch": "l.source <> f.license_source",
    "wrong_place": "l.addresses <> '{}' AND NOT i.client_address <<= ANY (l.addresses)",
    "returned": "EXISTS (SELECT FROM changes AS c WHERE c.installation_id = i.installation_id AND c.field = 'life' AND c.after = 'returned')",
    "delivered_late": "EXISTS (SELECT FROM pings AS g WHERE g.installation_id = i.installation_id GROUP BY g.received_at HAVING count(*) > 1)",
    "wrong_clock": "EXISTS (SELECT FROM pings AS g WHERE g.installation_id = i.installation_id AND g.time_suspect)",
}


def everything(truth):
    return {str(found) for found in truth}


@pytest.mark.parametrize("kind", FOUND_BY)
async def test_what_was_planted_is_found_in_the_rows(fleet, look, kind):
    rows = await look(f"""
        SELECT i.installation_id
        FROM installations AS i
        JOIN installation_facts AS f USING (installation_id)
        LEFT JOIN license_keys AS k ON k.key_hash = f.license_key_hash
        LEFT JOIN licenses AS l ON l.license_id = k.license_id
        WHERE {FOUND_BY[kind]}
    """)
    planted = fleet.made.planted[kind]
    assert planted
    assert {str(row["installation_id"]) for row in rows} == set(planted)


async def test_licenses_with_too_many_copies_are_those_planted(fleet, look):
    rows = await look("""
        SELECT l.license_id, l.seats, l.seats_used, array_agg(f.installation_id ORDER BY f.installation_id) AS installations
        FROM licenses AS l JOIN installation_facts AS f USING (license_id)
        WHERE l.seats_used > l.seats
        GROUP BY l.license_id
    """)
    found = {
        str(row["license_id"]): (row["seats"], row["seats_used"], [str(i) for i in row["installations"]])
        for row in rows
    }
    planted = {
        each["license_id"]: (each["seats"], each["seats_used"], sorted(each["installations"]))
        for each in fleet.made.planted["over_seats"]
    }
    assert found == planted != {}


async def test_gaps_are_those_planted(fleet, look):
    rows = await look(
        "SELECT installation_id, int8multirange(int8range(1, upper(received))) - received AS missing FROM installations"
    )
    found = {
        str(row["installation_id"]): [[part.lower, part.upper] for part in row["missing"]]
        for row in rows
        if row["missing"]
    }
    planted = {
        each["installation_id"]: [list(part) for part in each["missing"]]
        for each in fleet.made.planted["gaps"]
    }
    assert found == planted != {}


async def test_forks_are_those_of_clones_and_restored_snapshots(fleet, look):
    planted = fleet.made.planted
    forked = {str(row["installation_id"]) for row in await look("SELECT installation_id FROM forks")}
    assert forked == {each["installation_id"] for each in planted["cloned"]} | set(planted["restored"])
    lineage = {
        (str(row["parent_id"]), str(row["installation_id"])) for row in await look("SELECT * FROM lineage")
    }
    assert lineage == {(each["installation_id"], each["clone"]) for each in planted["cloned"]} != set()
    assert (
        await look(
            "SELECT FROM forks AS f JOIN pings AS g USING (installation_id, sequence) WHERE g.ping_id <> f.stored_ping_id"
        )
        == []
    )


async def test_what_left_no_row_is_counted(fleet, look):
    counted = dict(await look("SELECT outcome, sum(count)::int FROM ingest_counts GROUP BY outcome"))
    assert counted == {"duplicate": fleet.made.duplicates, "forked": fleet.made.forked}
    [row] = await look("SELECT count(*) AS forks FROM forks")
    assert row["forks"] == fleet.made.forked


async def test_verdicts_agree_with_the_truth(fleet, look):
    planted = fleet.made.planted
    expected = {
        "unknown_key": set(planted["unknown_key"]),
        "revoked": set(planted["revoked_key_in_use"]),
        "suspended": set(planted["suspended_key_in_use"]),
        "wrong_place": set(planted["wrong_place"]),
        "over_seats": {each for one in planted["over_seats"] for each in one["installations"]},
    }
    rows = await look("SELECT installation_id, verdict FROM installation_facts")
    for verdict, installations in expected.items():
        assert {str(row["installation_id"]) for row in rows if row["verdict"] == verdict} == installations
    mismatched = await look("SELECT installation_id FROM installation_facts WHERE source_mismatch")
    assert {str(row["installation_id"]) for row in mismatched} == set(planted["source_mismatch"])
