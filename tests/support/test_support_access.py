"""From the customer's wish to the plaintext before the support team, over a real server and the real commands."""

import asyncio
import json
import subprocess
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from license_telemetry import _wire as wire
from license_telemetry._answers import Answer
from license_telemetry._problems import Problems
from license_telemetry._settings import Settings
from license_telemetry._support import Support
from license_telemetry._transport import Transport
from support_team import SupportTeam

from telemetry_server import durable
from telemetry_server.store.access import audit
from telemetry_server.support import opening, store
from telemetry_server.support.support_keys import SupportKeys

CANARY = "canary-5f0c2a7d9e11b3c4"
SSH = {"user": "acme", "host": "203.0.113.7", "port": 22, "password": f"ssh {CANARY}"}
ACCOUNTS = [
    {"kind": "mysql", "name": "billing", "password": f"mysql {CANARY}"},
    {"kind": "email", "name": "owner@example.com"},
]


def begin(team, case, *options):
    team.command("support", "begin", case, *options)


def settings_of(team, state, **options):
    given = {"endpoint": team.server.url, "product_key": team.server.product_key, "support_root": team.root}
    return Settings(state_dir=team.home / state, **{**given, **options})


# ── granting and opening ─────────────────────────────────────────────────────────────────────


def test_what_a_customer_grants_is_what_the_team_opens(team):
    begin(team, "whole")
    with team.customer("whole", notice_version="2018-04-17") as telemetry:
        made = telemetry.support_grant("whole", ssh=SSH, root_dir=Path("/srv/billing"), accounts=ACCOUNTS)
        assert (made["state"], made["case"]) == ("acknowledged", "whole")
        assert CANARY not in json.dumps(made)
        installation = telemetry.status()["installation_id"]
    [found] = team.open("whole")
    assert found["content"] == {"root_dir": "/srv/billing", "ssh": SSH, "accounts": ACCOUNTS}
    assert (found["grant_id"], found["installation_id"]) == (made["grant_id"], installation)
    assert (found["problem"], found["certificate"]) == (None, None)


def test_an_opening_is_in_the_audit_log_with_its_reason_and_without_its_content(team):
    begin(team, "recorded")
    team.customer("recorded").support_grant("recorded", root_dir=CANARY)
    team.command("support", "open", "recorded", "--reason", "mail does not go out")
    [entry] = team.command("audit", "list", "--action", "support_case.open", "--subject-id", "recorded")[
        "entries"
    ]
    assert entry["reason"] == "mail does not go out"
    assert entry["actor"].startswith("cli:")
    assert len(entry["details"]["grants"]) == 1
    assert CANARY not in json.dumps(entry)


def test_a_case_that_is_not_open_or_a_reason_that_is_not_given_opens_nothing(team):
    team.customer("closed").support_grant("closed", root_dir="/srv")
    assert "no case" in team.refusal("support", "open", "closed", "--reason", "a look")
    begin(team, "closed")
    assert "reason" in team.refusal("support", "open", "closed", "--reason", "  ")
    team.command("support", "close", "closed")
    assert "closed" in team.refusal("support", "open", "closed", "--reason", "a look")
    begin(team, "closed")
    assert len(team.open("closed")) == 1


def test_grants_end_with_their_expiry_and_with_their_key(team):
    begin(team, "ends")
    customer = team.customer("ends")
    for _ in range(2):
        assert customer.support_grant("ends", root_dir="/srv", expires=1)["state"] == "acknowledged"
    first, second = team.open("ends")
    past = "UPDATE support_grants SET not_after = now() - interval '1 minute' WHERE grant_id = $1"
    asyncio.run(team.server.fetch(past, first["grant_id"]))
    assert [each["grant_id"] for each in team.open("ends")] == [second["grant_id"]]
    team.command("run", "forget support grants")
    kept = "SELECT sealed IS NULL AS gone FROM support_grants WHERE case_id = 'ends' ORDER BY not_after"
    assert [row["gone"] for row in asyncio.run(team.server.fetch(kept))] == [True, False]

    [key] = [each for each in team.command("support", "keys", "list")["keys"] if each["private"]][:1]
    private = team.directory / f"{key['id']}.pem"
    saved = private.read_bytes()
    team.command("support", "keys", "destroy", key["id"])
    [found] = team.open("ends")
    assert (found["content"], found["problem"]) == (None, f"Its key {key['id']} is destroyed.")
    assert "no key" in team.refusal("support", "keys", "destroy", key["id"])
    durable.write(private, saved)  # for the other tests


def test_a_grant_moved_to_another_case_or_a_later_expiry_does_not_open(team):
    begin(team, "moved")
    begin(team, "stolen")
    team.customer("moved").support_grant("moved", root_dir="/srv")
    for change in ("case_id = 'stolen'", "not_after = not_after + interval '1 hour'", "notice = 'x'"):
        move = f"UPDATE support_grants SET {change} WHERE grant_id IN (SELECT grant_id FROM support_grants WHERE case_id = 'moved')"
        asyncio.run(team.server.fetch(move))
        case = "stolen" if "stolen" in change else "moved"
        [found] = team.open(case)
        assert found["content"] is None
        assert "cannot be opened" in found["problem"]
        asyncio.run(team.server.fetch("UPDATE support_grants SET case_id = 'moved' WHERE case_id = 'stolen'"))


# ── keys ─────────────────────────────────────────────────────────────────────────────────────


def test_a_server_with_keys_of_its_own_gets_nothing(team, tmp_path):
    """A broken-into server signs its list with a root of its own: the software pins the vendor's."""
    forged = SupportKeys(tmp_path / "forged")
    begin(team, "forged")
    published = team.directory / "keys.signed"
    saved = published.read_text()
    from datetime import UTC, datetime

    from telemetry_server.support.support_keys import make_root, sign_list

    make_root(tmp_path / "root.pem")
    forged.make(1, [], datetime.now(UTC))
    published.write_text(sign_list(forged.payload.read_text(), tmp_path / "root.pem"))
    try:
        made = team.customer("forged").support_grant("forged", root_dir=CANARY)
    finally:
        published.write_text(saved)
    assert "not signed by the vendor's root" in made["error"]
    assert team.open("forged") == []
    assert team.list_grants("forged") == []


def test_without_a_pinned_root_or_a_signed_list_nothing_is_granted(team):
    made = team.customer("unpinned", support_root=None).support_grant("unpinned", root_dir="/srv")
    assert "root key is not known" in made["error"]
    published = team.directory / "keys.signed"
    saved = published.read_text()
    published.unlink()
    try:
        made = team.customer("unpinned").support_grant("unpinned", root_dir="/srv")
    finally:
        published.write_text(saved)
    assert "no list of support keys (HTTP 404)" in made["error"]


def test_keys_are_made_once_a_week_and_their_list_has_to_be_signed_again(team):
    before = team.command("support", "keys", "list")
    assert (before["signed"], len(before["keys"])) == (True, 2)
    assert team.command("support", "keys", "make", "--weeks", "3")["made"] != []
    after = team.command("support", "keys", "list")
    assert (after["signed"], len(after["keys"])) == (False, 3)
    assert after["keys"][:2] == before["keys"]
    assert team.command("support", "keys", "make", "--weeks", "3")["made"] == []
    assert team.command("support", "keys", "destroy", "--expired")["destroyed"] == []
    assert {path.stat().st_mode & 0o777 for path in team.directory.glob("*.pem")} == {0o600}
    team.sign()


def test_expired_keys_are_destroyed_when_no_grant_can_be_valid_any_more(tmp_path):
    from datetime import UTC, datetime, timedelta

    keys, monday = SupportKeys(tmp_path / "support"), datetime(2026, 11, 30, tzinfo=UTC)
    [first, second] = keys.make(2, [], monday + timedelta(days=2))
    assert (first.use_from, first.use_until) == (monday, monday + timedelta(days=7))
    assert keys.destroy_expired(monday + timedelta(days=21, hours=23)) == []
    assert keys.destroy_expired(monday + timedelta(days=22)) == [first.id]
    assert (keys.private_key(first.id), keys.private_key(second.id) is None) == (None, False)
    keys.payload.unlink()
    assert keys.destroy_expired(monday + timedelta(days=29)) == [second.id]


# ── on its way ───────────────────────────────────────────────────────────────────────────────


def test_a_grant_is_kept_until_the_server_has_receipted_it_also_while_telemetry_is_off(team):
    begin(team, "kept")
    settings = settings_of(team, "kept")
    real, answers = (
        Transport(settings).post,
        [Answer(503, {}, b""), Answer(200, {}, b"{}"), Answer(0, {}, b"")],
    )

    def hindered(request):
        return answers.pop(0) if request.path == wire.GRANTS_PATH and answers else real(request)

    support = Support(settings, Problems(), post=hindered)
    made = support.grant("kept", root_dir=CANARY)
    assert made["state"] == "not acknowledged yet"
    assert team.open("kept") == []
    team.license_telemetry("off", state="kept")
    for left in (1, 0):
        Support(settings, Problems(), post=hindered)._engine.deliver(3)
        assert len(answers) == left
    assert team.list_grants("kept")[0]["state"] == "not acknowledged yet"
    support._engine.deliver(3)
    assert [each["state"] for each in team.list_grants("kept")] == ["acknowledged"]
    assert len(team.open("kept")) == 1
    stored = b"".join(path.read_bytes() for path in (team.home / "kept").iterdir() if path.is_file())
    assert CANARY.encode() not in stored


async def test_what_is_no_grant_is_refused_under_a_receipt_and_what_is_not_signed_without(team):
    customer = team.customer("refused")
    assert customer.support_grant("refused", root_dir="/srv")["state"] == "acknowledged"
    from license_telemetry._outbox import Outbox

    with Outbox(str(team.home / "refused")).look() as ledger:
        known = ledger.identity()
    grant = {
        "grant_id": "019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90",
        "case": "refused",
        "key": "2026w49-1a2b3c4d",
        "not_after": "2999-01-01T00:00:00Z",
        "sealed": "A" * 200,
    }
    wrong = [
        b"{",
        b"[]",
        json.dumps(grant).encode(),
        *(
            json.dumps({**grant, **each}).encode()
            for each in ({"case": "../x"}, {"key": "k"}, {"sealed": "A"})
        ),
        *(
            json.dumps({**grant, "not_after": each}).encode()
            for each in ("tomorrow", "2001-01-01T00:00:00Z", "2999-13-41T00:00:00Z")
        ),
    ]
    async with aiohttp.ClientSession() as session:
        for body in wrong:
            header = {"Telemetry-Signature": known.signature(wire.GRANTS_PATH, body)}
            async with session.post(
                f"{team.server.url}{wire.GRANTS_PATH}", data=body, headers=header
            ) as answer:
                content = await answer.read()
                assert answer.status in {400, 422}, (body, content)
                assert known.is_receipt(answer.headers["Telemetry-Receipt"], body, content)
        for path in (wire.GRANTS_PATH, wire.REVOKE_PATH):
            async with session.post(f"{team.server.url}{path}", data=b"{}") as answer:
                assert answer.status == 401
                assert "Telemetry-Receipt" not in answer.headers


def test_nobody_can_revoke_the_grant_of_another(team):
    begin(team, "foreign")
    made = team.customer("foreign").support_grant("foreign", root_dir="/srv")
    other = Support(settings_of(team, "foreign-2"), Problems())
    other.grant("other", root_dir="/srv")
    with other._outbox.transaction() as ledger:
        known = ledger.get("support_grants")
        known[0]["grant_id"] = made["grant_id"]
        ledger.put("support_grants", known)
    assert other.revoke(made["grant_id"])[0]["state"] == "revoked"
    assert [each["grant_id"] for each in team.open("foreign")] == [made["grant_id"]]


# ── the command of the customer ──────────────────────────────────────────────────────────────


def test_the_command_grants_lists_and_revokes_and_says_what_to_change(team):
    begin(team, "by-hand")
    arguments = (
        "--ssh-user",
        "acme",
        "--ssh-password",
        "--account",
        "mysql:billing",
        "--root-dir",
        "/srv/billing",
    )
    said = team.license_telemetry(
        "support", "grant", "by-hand", *arguments, state="by-hand", given=f"{CANARY}\nsecond\n"
    )
    assert "Granted for case by-hand until" in said
    assert CANARY not in said
    [found] = team.open("by-hand")
    assert found["content"]["ssh"] == {"user": "acme", "password": CANARY}
    assert found["content"]["accounts"] == [{"kind": "mysql", "name": "billing", "password": "second"}]
    [listed] = team.list_grants("by-hand")
    assert (listed["grant_id"], listed["state"]) == (found["grant_id"], "acknowledged")
    said = team.license_telemetry("support", "revoke", "by-hand", state="by-hand")
    assert "Change these passwords now: mysql billing, ssh acme." in said
    assert [each["state"] for each in team.list_grants("by-hand")] == ["revoked"]
    assert team.open("by-hand") == []
    gone = "SELECT sealed, revoked_at FROM support_grants WHERE case_id = 'by-hand'"
    [row] = asyncio.run(team.server.fetch(gone))
    assert row["sealed"] is None
    assert row["revoked_at"] is not None
    assert "no valid grant" in team.license_telemetry("support", "revoke", "by-hand", state="by-hand", code=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Case 1"], "lower-case letters"),
        (["4711", "--hours", "337"], "up to 336 hours"),
        (["4711", "--account", "mysql"], "no KIND:NAME"),
        (["4711", "--account", "bank:owner"], "no KIND:NAME"),
    ],
)
def test_a_wrong_wish_is_said_and_sends_nothing(team, arguments, said):
    assert said in team.license_telemetry("support", "grant", *arguments, state="wrong", code=1)


# ── the conditions, in the store ─────────────────────────────────────────────────────────────


@pytest.fixture
async def connection(team):
    connection = await asyncpg.connect(team.server.database)
    yield connection
    await connection.close()


def keys_of(team: SupportTeam) -> SupportKeys:
    return SupportKeys(team.directory)


async def test_what_cannot_be_recorded_is_not_opened(team, connection, monkeypatch):
    from datetime import UTC, datetime

    await asyncio.to_thread(begin, team, "unrecorded")
    await asyncio.to_thread(team.customer("unrecorded").support_grant, "unrecorded", root_dir="/srv")
    order = []

    async def record(*arguments):
        order.append("entry")
        assert connection.is_in_transaction()
        raise OSError("the disk is full")

    class Keys(SupportKeys):
        def private_key(self, key_id):
            order.append("key")
            assert not connection.is_in_transaction()  # the entry is committed
            return super().private_key(key_id)

    by, keys = opening.Opener("ann", "a look"), Keys(team.directory)
    with monkeypatch.context() as patch:
        patch.setattr(audit, "record", record)
        with pytest.raises(OSError, match="full"):
            await opening.open_case(connection, keys, "unrecorded", by, datetime.now(UTC))
    assert order == ["entry"]
    [opened] = await opening.open_case(connection, keys, "unrecorded", by, datetime.now(UTC))
    assert opened.content == {"root_dir": "/srv"}
    assert "/srv" not in repr(opened)


async def test_two_persons_open_what_needs_two_and_each_approval_is_good_for_one_opening(team, connection):
    from datetime import UTC, datetime, timedelta

    await asyncio.to_thread(begin, team, "pair", "--two-persons")
    await asyncio.to_thread(team.customer("pair").support_grant, "pair", root_dir="/srv")
    now, keys, ann = datetime.now(UTC), keys_of(team), opening.Opener("ann", "a look")

    async def opened(moment=now):
        return len(await opening.open_case(connection, keys, "pair", ann, moment))

    def by(actor):
        return audit.Entry(
            actor=actor, action="support_case.approve", subject_kind="support_case", subject_id="pair"
        )

    with pytest.raises(opening.ApprovalNeeded):
        await opened()
    [asked] = await store.list_approvals(connection, "pair", now)
    assert (asked.asked_by, asked.reason) == ("ann", "a look")
    assert not await store.approve(connection, "pair", asked.approval_id, by=by("ann"), now=now)
    assert not await store.approve(connection, "other", asked.approval_id, by=by("bob"), now=now)
    late = now + timedelta(hours=2)
    assert not await store.approve(connection, "pair", asked.approval_id, by=by("bob"), now=late)
    assert await store.approve(connection, "pair", asked.approval_id, by=by("bob"), now=now)
    with pytest.raises(opening.ApprovalNeeded):
        await opened(late)
    assert await opened(now + timedelta(minutes=59)) == 1
    with pytest.raises(opening.ApprovalNeeded):
        await opened()
    entries = await audit.find(
        connection, audit.AuditFilter(subject_kind="support_case", subject_id="pair"), limit=9
    )
    assert [each.action for each in entries] == [
        "support_case.open",
        "support_case.approve",
        "support_case.begin",
    ]
    assert entries[0].details["approved_by"] == "bob"


# ── canaries ─────────────────────────────────────────────────────────────────────────────────


def memory_of(pid):
    """The writable memory of a process."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, *_ = line.split()
            first, last = (int(each, 16) for each in place.split("-"))
            if rights.startswith("rw") and "[v" not in line:
                memory.seek(first)
                yield memory.read(last - first)


def test_a_dump_a_core_the_logs_and_the_data_directories_show_nothing(team, cluster):
    """All grants of this module have the canary in them; they were opened by commands, which ended."""
    made = team.customer("canary").support_grant("canary", ssh=SSH, accounts=ACCOUNTS, root_dir=CANARY)
    asyncio.run(team.server.fetch("CHECKPOINT"))
    dump = subprocess.run(
        [cluster.programs / "pg_dump", team.server.database],
        capture_output=True,
        check=True,
        cwd=cluster.home,
    ).stdout
    assert made["grant_id"].encode() in dump  # it is looked at the right place
    files = [path for root in (cluster.pgdata, Path(team.server.data), team.home) for path in root.rglob("*")]
    hits = [str(path) for path in files if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert (hits, CANARY.encode() in dump) == ([], False)
    for part in memory_of(team.server.process.pid):
        assert CANARY.encode() not in part
