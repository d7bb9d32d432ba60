"""The job "find suspicions" on a small fleet: what it opens, closes and sorts into cases, and what it leaves alone."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_network

import asyncpg
import pytest
from story_fleets import StoryFleet, play

from telemetry_server.investigate import finding, jobs, store
from telemetry_server.investigate.rule_files import all_rules, shipped_rules
from telemetry_server.investigate.rules import Asked, RuleStatus, WrongRule, parse_rule
from telemetry_server.investigate.score import Scale, shipped_ratios
from telemetry_server.jobs.verdicts import judge_installations
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Author, LicensePatch, LicenseRow
from telemetry_server.store.database import connect_writer
from telemetry_server.store.ingest.writer import GroupWriter
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.licenses import key_hashes

NOW = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
MINUTE = timedelta(minutes=1)
STORY = {
    "days": 20,
    "licenses": {
        "ACME": {"seats": 1, "customer": "Acme", "then": {"4": {"status": "refunded"}}},
        "GOOD": {"customer": "Good"},
    },
    "copies": {
        "a": {"key": "ACME", "until": 19},
        "b": {"key": "ACME", "network": "far", "from": 1, "until": 19},
        "c": {"key": "NULLED", "until": 19},
        "d": {"key": "GOOD", "until": 19},
    },
}
RULE = """/*---
id = "6f1c0f5e-6c0a-4f5e-9f50-0c3f2b9d7a11"
title = "Anything"
status = "stable"
means = "A copy."
does_not_mean = "More."
falsepositives = ["Every copy."]
closes = "gone"
family = "claim"
subject = "installation"
cadence = "hour"
window = 90
---*/
{sql}
"""
ANY = (
    "SELECT f.installation_id::text AS subject_id, f.first_received_at AS first_seen, :now::timestamptz AS last_seen,"
    " 0.5::float8 AS strength, jsonb_build_object('installations', jsonb_build_array(f.installation_id)) AS evidence"
    " FROM installation_facts AS f WHERE f.product_id = :product"
)


class Office:
    """The fleet, and the job at times of one's own."""

    def __init__(self, connection, keyring, fleet):
        self.connection, self.keyring, self.fleet = connection, keyring, fleet
        self.now = NOW

    async def find(self, own=None, allowed=()):
        self.now += MINUTE
        return await jobs.find_suspicions(own, allowed, 0.01)(self.connection, self.now)

    async def register(self, key):
        hashes = await key_hashes(self.connection, self.keyring, self.fleet.product.slug)
        row = LicenseRow(1, self.fleet.key(key), None, LicensePatch())
        await keep_licenses(self.connection, hashes, [row], by=Author("ann"), now=datetime.now(UTC))
        await judge_installations(self.connection, self.now)

    async def findings(self):
        return await self.connection.fetch("SELECT * FROM findings ORDER BY rule, opened_at")

    async def open_rules(self):
        return sorted({row["rule"] for row in await self.findings() if row["closed_at"] is None})

    async def cases(self):
        return {row["name"]: row for row in await store.queue(self.connection, self.fleet.product.id)}

    async def history(self, case):
        rows = await self.connection.fetch(
            "SELECT what FROM case_history WHERE case_id = $1 ORDER BY at, history_id", case["case_id"]
        )
        return [json.loads(row["what"]) for row in rows]


@pytest.fixture(scope="module")
def played_once(cluster, template, tmp_path_factory):
    """A database in which the story happened, to be copied; the keyring and the fleet."""
    keyring = open_keyring(tmp_path_factory.mktemp("office") / "keyring.json")
    fleet = StoryFleet(0, STORY, NOW - timedelta(days=1))
    dsn = cluster.dsn("played_once")

    async def happen():
        await cluster.copy(template, "played_once")
        connection = await asyncpg.connect(dsn)
        async with GroupWriter(partial(connect_writer, dsn)) as writer:
            await play([fleet], connection, writer, keyring, NOW - timedelta(days=1))
        await connection.close()

    asyncio.run(happen())
    yield keyring, fleet
    asyncio.run(cluster.drop("played_once"))


@pytest.fixture
async def office(cluster, played_once):
    keyring, fleet = played_once
    await cluster.copy("played_once", "the_office")
    connection = await asyncpg.connect(cluster.dsn("the_office"))
    yield Office(connection, keyring, fleet)
    await connection.close()
    await cluster.drop("the_office")


async def test_findings_join_the_cases_of_their_owners(office):
    await office.find()
    assert await office.open_rules() == [
        *("claim_mismatch", "over_seats", "revoked_key", "shared_key", "unknown_key")
    ]
    cases = await office.cases()
    assert {(row["subject_kind"], row["state"]) for row in cases.values()} == {
        ("customer", "open"),
        ("key", "open"),
    }
    acme = cases["Acme"]
    assert set(acme["rules"]) == {"claim_mismatch", "over_seats", "revoked_key", "shared_key"}
    assert acme["installations"] == sorted(str(office.fleet.ids[name]) for name in "ab")
    assert 0 < acme["score"] <= 1
    assert (await office.history(acme))[0] == {"opened": {"subject": "customer", "id": acme["subject_id"]}}


async def test_a_second_run_changes_nothing(office):
    await office.find()
    before = await office.connection.fetch("SELECT xmin::text, * FROM findings ORDER BY finding_id")
    assert (await office.find()).startswith("opened 0, updated 0 and closed 0 findings, and opened 0 cases")
    assert await office.connection.fetch("SELECT xmin::text, * FROM findings ORDER BY finding_id") == before


async def test_a_finding_closes_by_itself_and_says_why_and_comes_back_as_another(office):
    await office.find()
    [case] = [row for row in (await office.cases()).values() if row["subject_kind"] == "key"]
    await office.register("NULLED")
    await office.find()
    [closed] = [row for row in await office.findings() if row["rule"] == "unknown_key"]
    assert closed["closed_why"] == "the key is in the registry now, or no copy has used it for long"
    assert case["name"] not in await office.cases()
    assert (
        await office.connection.fetchval("SELECT score FROM cases WHERE case_id = $1", case["case_id"]) == 0
    )
    assert [closed["closed_why"]] == [
        what["closed"]["closed_why"]
        for what in await office.history(case)
        if what.get("closed", {}).get("rule") == "unknown_key"
    ]
    await office.connection.execute(
        "UPDATE installation_facts SET verdict = 'unknown_key' WHERE installation_id = $1",
        office.fleet.ids["c"],
    )
    await office.connection.execute("DELETE FROM changes WHERE installation_id = $1", office.fleet.ids["c"])
    await office.find()
    assert len([row for row in await office.findings() if row["rule"] == "unknown_key"]) == 2


async def test_a_decided_case_reopens_with_a_new_finding_and_one_that_waits_after_its_time(office):
    await office.find()
    await office.connection.execute("UPDATE cases SET state = 'decided', decision = 'exception'")
    await office.connection.execute(
        "UPDATE cases SET state = 'waiting', wait_until = $1 WHERE subject_kind = 'key'", office.now + MINUTE
    )
    await office.connection.execute("DELETE FROM findings WHERE rule = 'over_seats'")
    await office.find()
    states = {row["subject_kind"]: row["state"] for row in (await office.cases()).values()}
    assert states == {"customer": "reopened", "key": "open"}


async def test_a_new_finding_joins_the_case_into_which_that_of_its_owner_was_merged(office):
    await office.find()
    cases = {row["subject_kind"]: row["case_id"] for row in (await office.cases()).values()}
    await office.connection.execute(
        "UPDATE cases SET merged_into = $1 WHERE case_id = $2", cases["customer"], cases["key"]
    )
    await office.connection.execute("DELETE FROM findings WHERE rule = 'unknown_key'")
    await office.find()
    [case] = (await office.cases()).values()
    assert case["case_id"] == cases["customer"]
    assert "unknown_key" in case["rules"]


async def test_the_findings_of_an_erased_installation_are_deleted(office):
    await office.find()
    erased = office.fleet.ids["c"]
    for table in ("installation_facts", "installations", "states", "pings"):
        await office.connection.execute(f"DELETE FROM {table} WHERE installation_id = $1", erased)
    await office.connection.execute(
        "INSERT INTO erased_installations VALUES ($1, gen_random_uuid(), now(), now())", erased
    )
    await office.find()
    assert [row for row in await office.findings() if str(erased) in row["evidence"]] == []


async def test_copies_in_an_allowed_network_are_seen_and_count_for_nothing(office):
    await office.find(allowed=(ip_network("100.64.0.0/10"),))
    assert {row["unscored"] for row in await office.findings()} == {"allowed network", "environment"}
    nothing = round(Scale(shipped_ratios(), 0.01).score([]).share, 6)
    assert {row["score"] for row in (await office.cases()).values()} == {nothing}


async def test_between_full_runs_only_what_has_news_is_closed(office, monkeypatch):
    monkeypatch.setattr(jobs, "ALWAYS_FULL", 0)
    await office.find()
    found = await office.open_rules()
    await office.connection.execute("UPDATE installation_facts SET verdict = 'valid', claim_mismatch = false")
    await office.find()
    assert await office.open_rules() == found
    await office.connection.execute(
        "UPDATE installations SET last_received_at = $1 WHERE installation_id = $2",
        *(office.now, office.fleet.ids["c"]),
    )
    await office.find()
    assert await office.open_rules() == [rule for rule in found if rule != "unknown_key"]


async def test_a_rule_of_an_operator_is_an_experiment_and_scores_nothing(office, tmp_path):
    (tmp_path / "anything.sql").write_text(RULE.format(sql=ANY))
    assert {rule.name: rule.status for rule in all_rules(tmp_path)}["anything"] is RuleStatus.EXPERIMENTAL
    await office.find(own=tmp_path)
    assert {row["unscored"] for row in await office.findings() if row["rule"] == "anything"} == {
        "experimental"
    }
    await office.find()
    assert {row["closed_why"] for row in await office.findings() if row["rule"] == "anything"} == {
        "the rule no longer runs"
    }


@pytest.mark.parametrize(
    "sql",
    [
        "WITH gone AS (DELETE FROM installation_facts RETURNING installation_id) SELECT installation_id FROM gone",
        "SELECT pg_sleep(60)",
        "SELECT nothing FROM nowhere",
    ],
)
async def test_a_rule_that_writes_or_waits_or_is_wrong_is_ended_and_the_others_go_on(
    office, monkeypatch, sql
):
    monkeypatch.setattr(store, "RULE_SECONDS", 1)
    broken, good = parse_rule("broken", RULE.format(sql=sql)), shipped_rules()[0]
    asked = Asked(product_id=office.fleet.product.id, now=NOW, since=NOW - timedelta(days=400))
    with pytest.raises(store.RuleFailed, match="The rule broken"):
        await store.run_rule(office.connection, broken, asked)
    counts = await finding.find(office.connection, [broken, good], asked, is_full=True)
    assert counts["failed"] == 1
    assert await office.connection.fetchval("SELECT count(*) FROM installation_facts") == 4


@pytest.mark.parametrize(
    "changes",
    [
        ("0.5::float8", "1.01::float8"),
        ("0.5::float8", "NULL::float8"),
        ("0.5::float8", "'NaN'::float8"),
        ("f.first_received_at AS", "NULL::timestamptz AS"),
        ("f.first_received_at AS", "'4000-01-01 BC'::timestamptz AS"),
        ("f.installation_id::text", "NULL::text"),
        ("f.installation_id::text", "repeat('x', 301)"),
        ("jsonb_build_array(f.installation_id)", "jsonb_build_array('no id')"),
        ("jsonb_build_array(f.installation_id)", "to_jsonb(7)"),
        ("jsonb_build_object('installations', jsonb_build_array(f.installation_id))", "'[]'::jsonb"),
        ("jsonb_build_object(", "jsonb_build_object('customers', 'many', "),
        (" AS evidence", " AS proof"),
    ],
    ids=str,
)
async def test_a_rule_whose_rows_cannot_be_kept_leaves_nothing_and_the_others_go_on(
    office, tmp_path, changes
):
    sql = ANY.replace(*changes)
    assert sql != ANY
    (tmp_path / "a_broken_one.sql").write_text(RULE.format(sql=sql))
    assert (await office.find(own=tmp_path)).endswith("; 1 rules failed")
    assert {"over_seats", "unknown_key"} <= set(await office.open_rules())
    assert "a_broken_one" not in await office.open_rules()
    assert "Acme" in await office.cases()


async def test_the_job_writes_only_to_its_own_tables(office):
    """No code path acts on a customer: licenses, grants, installations and all else stay as they were."""

    async def written():
        rows = await office.connection.fetch(
            "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS written FROM pg_stat_xact_user_tables"
        )
        return {row["relname"] for row in rows if row["written"]}

    async with office.connection.transaction():
        await office.find()
        assert await written() == {"findings", "cases", "case_findings", "case_history", "rollup_marks"}


async def test_a_wrong_rule_is_named(tmp_path):
    (tmp_path / "claim_mismatch.sql").write_text(RULE.format(sql=ANY))
    with pytest.raises(WrongRule, match="claim_mismatch"):
        all_rules(tmp_path)
