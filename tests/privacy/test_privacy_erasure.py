"""Erasure: what an installation asks for, what a person does, what is left, and what comes late."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from demo_fleet_of_days import counts, settled
from license_digest import digest_of

from telemetry_server.check.fields import load_registry
from telemetry_server.jobs.rebuild import rebuild
from telemetry_server.jobs.verdicts import judge_installations
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Author
from telemetry_server.privacy import jobs
from telemetry_server.privacy.jobs import carry_out_erasures, erase
from telemetry_server.privacy.store import erasing, restrictions
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.access import audit, audit_check
from telemetry_server.store.access.audit_checkpoints import signer_of
from telemetry_server.store.access.audit_log import number_entries
from telemetry_server.store.registry.products import add_product

TABLES_OF_INSTALLATIONS = """
    SELECT c.table_name FROM information_schema.columns AS c JOIN information_schema.tables AS t USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND c.column_name = 'installation_id' AND t.table_type = 'BASE TABLE'
"""


@pytest.fixture
def carried_out(common_server, stored):
    """Carries out what was asked for, as the job does."""
    job = carry_out_erasures(load_registry(), common_server.data / "keyring.json", 35)

    async def carried_out():
        await job(stored, datetime.now(UTC))

    return carried_out


async def test_an_installation_is_forgotten_and_a_late_upload_ends_it(
    common_server, copy, own, rows, carried_out
):
    assert (await copy.send()).statuses == ["accepted"]
    late = copy.ping()
    answer = await own(copy, "/v1/forget", b'{"reason": "we moved away"}')
    assert answer.status == 202
    assert (await own(copy, "/v1/forget")).json["request_id"] == answer.json["request_id"]
    refused = await copy.send(late)
    assert (refused.status, refused.json["code"], refused.json["status"]) == (410, "gone", 410)
    assert "Telemetry-Receipt" in refused.headers
    await carried_out()
    for [table] in await common_server.fetch(TABLES_OF_INSTALLATIONS):
        assert await rows(table, copy) == (1 if table == "erased_installations" else 0), table
    assert (await copy.send(late)).status == 410
    assert await rows("installations", copy) == 0


async def test_support_access_goes_with_its_installation_and_none_is_taken_from_it_again(
    copy, own, rows, carried_out
):
    until = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    bound = {"grant_id": str(uuid4()), "case": "4711", "key": "2026w49-1a2b3c4d", "not_after": until}
    grant = json.dumps({**bound, "sealed": "A" * 200}).encode()
    assert (await own(copy, "/v1/support-grants", grant)).status == 200
    assert await rows("support_grants", copy) == 1
    await own(copy, "/v1/forget")
    await carried_out()
    assert await rows("support_grants", copy) == 0
    refused = await own(copy, "/v1/support-grants", grant)
    assert (refused.status, await rows("support_grants", copy)) == (410, 0)
    assert "Telemetry-Receipt" in refused.headers


async def test_the_certificate_names_two_dates(common_server, copy, stored):
    await copy.send()
    made = common_server.command(
        "privacy", "erase", "--installation", copy.id, "--reason", "asked by phone", "--yes"
    )
    text = made["certificate"]
    today = datetime.now(UTC).date()
    assert f"subject: installation {copy.id}" in text
    assert f"erased from the live store: {today}" in text
    assert f"erased with the last backup: {today + timedelta(days=35)}" in text
    subject = Subject("installation", UUID(copy.id))
    again = await erasing.ask(stored, subject, by="a test", reason=None, now=datetime.now(UTC))
    assert (str(again), await erasing.certificate_of(stored, again)) == (made["erasure_id"], text)


async def test_a_changed_certificate_is_refused(connection, tmp_path):
    signer = signer_of(open_keyring(tmp_path / "keyring.json"))
    text = signer.sign_text("license-telemetry certificate of erasure\nsubject: x\n")
    assert signer.verifier.text_of(text).endswith("subject: x\n")
    with pytest.raises(ValueError, match="signature is wrong"):
        signer.verifier.text_of(text.replace("subject: x", "subject: y"))


async def test_requests_of_strangers_and_wrong_bodies_are_refused(copy, own):
    assert (await own(copy, "/v1/forget", b"[1]")).status == 422
    assert (await own(copy, "/v1/forget", b"{")).status == 400
    copy.secret = bytes(32)
    assert (await own(copy, "/v1/forget")).status == 401


async def test_counts_stay_right_when_they_are_counted_again(database, tmp_path):
    """Every roll-up, of three erased copies with a history, before and after all days are counted again."""
    connection = await asyncpg.connect(database)
    try:
        now, copies = await settled(connection, database)
        before = await counts(connection, until=now.date())
        signer = signer_of(open_keyring(tmp_path / "keyring.json"))
        for copy in copies[:3]:
            subject = Subject("installation", copy)
            asked = await erasing.ask(connection, subject, by="a test", reason="why not", now=now)
            wanted = await erasing.erasure(connection, asked)
            await erase(connection, wanted, load_registry(), signer, backup_days=35, now=now)
        first = (now - timedelta(days=60)).date()
        async for _ in rebuild(connection, load_registry(), first, now.date(), now):
            pass
        after = await counts(connection, until=now.date())
        for table in before:
            assert after[table] == before[table], table
        assert sum(map(len, before.values())) > 500
    finally:
        await connection.close()


async def test_entries_about_the_subject_go_and_the_log_stays_intact(database, tmp_path):
    connection = await asyncpg.connect(database)
    try:
        now, copies = await settled(connection, database, installations=4, days=5)
        gone, kept = map(str, copies[:2])
        for subject in (gone, kept, gone):
            await audit.record(
                connection,
                audit.Entry(
                    actor="ann", action="installation.view", subject_kind="installation", subject_id=subject
                ),
            )
        await audit.record(
            connection, audit.Entry(actor="ann", action="license.list", details={"query": f"id={gone}"})
        )
        await number_entries(connection)
        await erasing.ask(connection, Subject("installation", copies[0]), by="a test", reason=None, now=now)
        keyring = tmp_path / "keyring.json"
        signer = signer_of(open_keyring(keyring))
        await carry_out_erasures(load_registry(), keyring, 35)(connection, now)
        left = await audit.find(connection, audit.AuditFilter(), limit=100)
        assert gone not in json.dumps([(each.subject_id, dict(each.details)) for each in left])
        assert [each.subject_id for each in left if each.action == "installation.view"] == [kept]
        assert [each.action for each in left if each.action.startswith("erasure")] == ["erasure.done"]
        assert (await audit_check.verify(connection, signer.verifier, [])).intact
    finally:
        await connection.close()


async def test_a_customer_is_erased_with_its_installations_and_the_license_stays_without_a_name(
    common_server, copy, stored, licensed, carried_out
):
    named = {"order_reference": "A-4711", "domains": "lovelace.example"}
    customer = await licensed("ada@example.com", "ERASE-ME-1", **named)
    claim = {"status": "licensed", "key_digest": digest_of(common_server.product_slug, "ERASE-ME-1")}
    await copy.send(copy.ping(license=claim))
    await judge_installations(stored, datetime.now(UTC))
    await stored.execute(
        "INSERT INTO saved_views (view_id, name, address, shared, created_by, created_at) VALUES"
        " (gen_random_uuid(), 'Ada', '/licenses?filter=customer%3Dada%40example.com', true, 'a test', now())"
    )
    subject, why = Subject("customer", customer.customer_id), Author("ann", "contested")
    await restrictions.begin(stored, subject, by=why, now=datetime.now(UTC))
    await restrictions.withdraw(stored, subject, by=why, now=datetime.now(UTC))
    await make_case(stored, "customer", str(customer.customer_id), "ada@example.com", [copy.id])
    await make_case(stored, "key", "of-someone-else", "a key", [copy.id, str(uuid4())])
    await make_case(stored, "network", "203.0.113.9", "Network 203.0.113.9", [copy.id])
    await erasing.ask(stored, subject, by="a test", reason="asked", now=datetime.now(UTC))
    await carried_out()
    assert (await copy.send()).status == 410
    assert await stored.fetchval("SELECT count(*) FROM saved_views") == 0
    assert [row["name"] for row in await stored.fetch("SELECT name FROM cases")] == ["a key"]
    [evidence] = await stored.fetch("SELECT evidence FROM findings")
    assert copy.id not in evidence["evidence"]
    tables = await stored.fetch(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    )
    for word in ("ada@example.com", "A-4711", "lovelace.example"):
        for [table] in tables:
            sql = f"SELECT count(*) FROM {table} AS t WHERE strpos(t::text, $1) > 0"
            assert await stored.fetchval(sql, word) == 0, (table, word)
    [license_row] = await stored.fetch("SELECT customer_id, status FROM licenses WHERE key_hint = 'ME-1'")
    assert tuple(license_row) == (None, "active")


async def make_case(connection, kind, subject, name, installations):
    """A case with a note and a finding, as the rules and people write them."""
    now = datetime.now(UTC)
    await connection.execute(
        "WITH p AS (SELECT product_id FROM products LIMIT 1),"
        " c AS (INSERT INTO cases (case_id, product_id, subject_kind, subject_id, name, score, waterfall, first_seen,"
        " last_seen, opened_at) SELECT gen_random_uuid(), product_id, $1, $2, $3, 0, '{}', $5, $5, $5 FROM p"
        " RETURNING case_id),"
        " f AS (INSERT INTO findings (finding_id, product_id, rule, family, subject_kind, subject_id, strength,"
        " first_seen, last_seen, evidence, opened_at) SELECT gen_random_uuid(), product_id, 'a_rule', 'key', 'key', $2, 1,"
        " $5, $5, jsonb_build_object('installations', $4::text[]), $5 FROM p RETURNING finding_id),"
        " h AS (INSERT INTO case_history (history_id, case_id, at, by, what) SELECT gen_random_uuid(), case_id, $5, 'ann',"
        " jsonb_build_object('note', $3::text || ' called') FROM c)"
        " INSERT INTO case_findings (case_id, finding_id, added_at) SELECT case_id, finding_id, $5 FROM c, f",
        *(kind, subject, name, installations, now),
    )


async def test_what_is_about_others_with_longer_names_stays(common_server, stored, licensed, carried_out):
    customer = await licensed("an@example.com", "SUBSTRING-1")
    await stored.execute(
        "UPDATE customers SET account = 'wp:100' WHERE customer_id = $1", customer.customer_id
    )
    others = ("dan@example.com", "an@example.com.au", "wp:1001", "query=dan%40example.com")
    named = (
        "an@example.com",
        "wp:100",
        "query=email%3Dan%40example.com&x",
        "Ask An@example.com.",
        "a\nwp:100\n",
    )
    for text in (*others, *named):
        entry = audit.Entry(actor="ann", action="license.list", details={"said": text, "test": "whole words"})
        await audit.record(stored, entry)
        await stored.execute(
            "INSERT INTO saved_views (view_id, name, address, shared, created_by, created_at)"
            " VALUES (gen_random_uuid(), 'whole words', '/licenses?filter=' || $1, true, 'a test', now())",
            text,
        )
    subject = Subject("customer", customer.customer_id)
    await erasing.ask(stored, subject, by="a test", reason=None, now=datetime.now(UTC))
    await carried_out()
    left = "SELECT array_agg(details ->> 'said') FROM audit_entries WHERE details ->> 'test' = 'whole words'"
    assert sorted(await stored.fetchval(left)) == sorted(others)
    views = "DELETE FROM saved_views WHERE name = 'whole words' RETURNING substr(address, 18)"
    assert sorted(row[0] for row in await stored.fetch(views)) == sorted(others)


async def test_an_installation_that_never_reported_is_erased_by_its_id_alone(
    copy, own, stored, carried_out, monkeypatch
):
    async def scan(*_):
        raise AssertionError("the texts of everyone are searched for one that no one can name")

    monkeypatch.setattr(erasing, "_erase_mentions", scan)
    monkeypatch.setattr(erasing, "_erase_entries", scan)
    assert (await own(copy, "/v1/access")).status == 200  # an entry about it
    assert (await own(copy, "/v1/forget")).status == 202
    await carried_out()
    done = "SELECT certificate FROM erasures WHERE subject = $1 AND done_at IS NOT NULL"
    assert copy.id in await stored.fetchval(done, copy.id)
    assert await stored.fetchval("SELECT count(*) FROM audit_entries WHERE subject_id = $1", copy.id) == 0


async def test_an_interrupted_erasure_is_carried_out_as_a_whole(connection, monkeypatch):
    now, copy = datetime.now(UTC), uuid4()
    product, _ = await add_product(connection, "Billing Suite", now=now)
    await connection.execute(
        "INSERT INTO installations (installation_id, product_id, received, received_before, first_received_at,"
        " last_received_at, last_sequence, last_occurred_at, state)"
        " VALUES ($1, $2, '{[1,2)}', '{}', $3, $3, 1, $3, substr(sha256('x'), 1, 16))",
        *(copy, product.id, now),
    )
    await audit.record(connection, audit.Entry(actor="ann", action="license.list", details={"q": str(copy)}))
    subject = Subject("installation", copy)
    asked = await erasing.ask(connection, subject, by="a test", reason=None, now=now)
    wanted = await erasing.erasure(connection, asked)

    async def interrupted(*_):
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(erasing, "_erase_mentions", interrupted)
        with pytest.raises(ConnectionResetError):
            await erasing.carry_out(connection, wanted, now)
    assert await connection.fetchval("SELECT count(*) FROM installations") == 0
    assert await erasing.carry_out(connection, wanted, now) == {"audit_entries": 1}


async def test_a_run_carries_out_a_limited_number_of_erasures(connection, tmp_path, monkeypatch):
    now, keyring = datetime.now(UTC), tmp_path / "keyring.json"
    open_keyring(keyring)
    monkeypatch.setattr(jobs, "_MOST_ERASURES", 1)
    for _ in range(2):
        subject = Subject("installation", uuid4())
        await erasing.ask(connection, subject, by="a test", reason=None, now=now)
    run = carry_out_erasures(load_registry(), keyring, 35)
    for left in (1, 0):
        await run(connection, now)
        assert len(await erasing.waiting(connection)) == left


async def test_a_ping_that_a_write_stored_a_moment_later_is_swept(stored, copy, rows, carried_out):
    await copy.send()
    subject = Subject("installation", UUID(copy.id))
    await erasing.ask(stored, subject, by="a test", reason=None, now=datetime.now(UTC))
    await carried_out()
    await stored.execute(
        "INSERT INTO changes (installation_id, changed_at, sequence, field) VALUES ($1::text::uuid, now(), 1, 'x')",
        copy.id,
    )
    await carried_out()
    assert await rows("changes", copy) == 0
