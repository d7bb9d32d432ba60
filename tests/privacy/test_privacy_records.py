"""Disclosures, the register of processing activities, and the breach kit."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from click.testing import CliRunner

from telemetry_server.check.fields import load_registry
from telemetry_server.cli import main
from telemetry_server.privacy import breach_kit, processing
from telemetry_server.privacy.store import breach
from telemetry_server.store.access import audit, disclosures

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
EVE = "person:eve@example.com (person 1)"


async def test_a_disclosure_has_a_ground_and_is_listed(connection):
    words = {"recipient": "Police", "subjects": "customer x", "fields": "pings", "duty": "this case"}
    with pytest.raises(disclosures.WrongDisclosure):
        await disclosures.add(connection, disclosures.What(**words, ground=" "), by="ann", now=NOW)
    what = disclosures.What(**words, ground="court order")
    made = await disclosures.add(connection, what, by="ann", now=NOW, at=NOW - timedelta(days=2))
    with pytest.raises(disclosures.WrongDisclosure):
        await disclosures.add(connection, what, by="ann", now=NOW, at=NOW + timedelta(days=2))
    [found] = await disclosures.disclosures(connection)
    assert (found.disclosure_id, found.ground, found.recorded_by) == (made, "court order", "ann")
    assert await disclosures.disclosures(connection, since=NOW) == []


def test_the_register_names_every_field_once():
    registry = load_registry()
    found = processing.register(registry, controller=None, address_days=90, audit_days=400, backup_days=35)
    named = [field for each in found["activities"] for field in each["fields"] if field in registry.fields]
    assert sorted(named) == sorted(registry.fields)
    assert all(each["basis"] and "not named" not in each["basis"] for each in found["activities"])
    text = processing.markdown(found)
    assert "DATA/letters/controller.txt" in text
    assert all(purpose in text for purpose in registry.purposes.values())


async def seen(connection, action, subject=None, actor=EVE, at=NOW, **details):
    entry = audit.Entry(
        actor=actor,
        action=action,
        subject_kind=action.partition(".")[0],
        subject_id=subject,
        network="192.0.2.0/24",
        details=details,
    )
    await audit.record(connection, entry, at)


async def test_the_kit_names_who_was_seen_and_when_the_notice_is_due(connection):
    customer, copy, other = (str(uuid4()) for _ in range(3))
    await seen(connection, "customer.view", customer)
    await seen(connection, "installation.view", copy)
    await seen(connection, "installation.view", copy)
    await seen(connection, "license.export", path="/api/v1/export/licenses", query="=1+1")
    await seen(connection, "installation.view", other, actor="person:ann@example.com (person 2)")
    await seen(connection, "installation.view", other, at=NOW + timedelta(hours=2))
    hour = timedelta(hours=1)
    window = breach.Window(NOW - hour, NOW + hour, persons=("eve@example.com",))
    found = await breach.seen(connection, window)
    written = dict(breach_kit.files(window, found, load_registry(), aware=NOW))
    said = json.loads(written["summary.json"])
    assert said["subjects"] == {"customer": 1, "installation": 1}
    assert said["notice_due_at"].startswith("2026-12-03T12:00")
    assert said["networks"] == ["192.0.2.0/24"]
    subjects = list(csv.reader(io.StringIO(written["subjects.csv"].decode())))
    assert subjects == [["kind", "id"], ["customer", customer], ["installation", copy]]
    assert b"'=1+1" in written["exports.csv"]
    assert other.encode() not in b"".join(written.values())
    authority = written["notice-authority.txt"].decode()
    assert authority.startswith("DRAFT, not sent")
    assert "tax id" in authority
    anyone = await breach.seen(connection, breach.Window(NOW - hour, NOW + hour))
    assert len(anyone.entries) == 5
    a_key = breach.Window(NOW - hour, NOW + hour, keys=("2026w49-1a2b3c4d",))
    assert (await breach.seen(connection, a_key)).entries == []


async def test_the_kit_lists_cases_and_what_they_show(connection):
    ids = {action: str(uuid4()) for action in ("case.export", "case.view", "support_case.open")}
    for action, one in ids.items():
        await seen(connection, action, one)
    await seen(connection, "pivot.list", query="value=192.0.2.7")
    found = await breach.seen(connection, breach.Window(NOW, NOW + timedelta(hours=1)))
    written = dict(breach_kit.files(breach.Window(NOW, NOW), found, load_registry(), aware=NOW))
    rows = list(csv.DictReader(io.StringIO(written["exports.csv"].decode())))
    assert {each["subject_id"] for each in rows} == {*ids.values(), ""}
    fields = json.loads(written["summary.json"])["fields"]
    assert set(fields) == {"case", "pivot", "support_case"}
    assert "addresses" in fields["case"]


def test_the_commands_write_the_register_and_the_kit(database, tmp_path):
    environment = {"TELEMETRY_DATABASE_URL": database, "TELEMETRY_DATA": str(tmp_path / "data")}

    def run(*arguments):
        done = CliRunner().invoke(main, ["privacy", *arguments, "--json"], env=environment)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    words = ("--recipient", "Police", "--subjects", "x", "--fields", "y", "--ground", "z", "--duty", "d")
    made = run("disclosures", "add", *words)
    assert [each["disclosure_id"] for each in run("disclosures", "list")["disclosures"]] == [
        made["disclosure_id"]
    ]
    assert run("register")["backups"] == "kept 35 days"
    window = ("--from", "2026-01-01T00:00Z", "--to", "2036-01-01T00:00Z")
    said = run("breach", *window, "--to-dir", str(tmp_path / "kit"))
    assert said["entries"] > 0
    assert len(list((tmp_path / "kit").iterdir())) == 7
