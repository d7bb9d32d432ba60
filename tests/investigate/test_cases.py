"""Cases: what people do with them, the rows they hold, and the way of their evidence out of the house."""

import ast
import asyncio
import io
import json
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from golden_bags import HOSTILE, VERIFIER, verifier
from places import ROOT

from telemetry_server.investigate import export
from telemetry_server.investigate.redaction import Profile
from telemetry_server.model import Author
from telemetry_server.privacy.store import restrictions
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.access import audit
from telemetry_server.store.access.audit_log import size_of
from telemetry_server.store.queries import load, modules

WEEK = f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}"


async def history(stored, case_id):
    rows = await stored.fetch(
        "SELECT what FROM case_history WHERE case_id = $1 ORDER BY at, history_id", UUID(case_id)
    )
    return [json.loads(row["what"]) for row in rows]


async def audited(stored, case_id):
    rows = await stored.fetch(
        "SELECT action, reason FROM audit_entries WHERE subject_id = $1 ORDER BY recorded_at", case_id
    )
    return [tuple(row) for row in rows]


async def listed(program, case_id, **wanted):
    query = "&".join(f"{name}={value}" for name, value in {"limit": 500, **wanted}.items())
    status, found = await program("GET", f"/api/v1/cases?{query}")
    assert status == 200
    return [item for item in found["items"] if item["id"] == case_id]


# ── the rows, and the export ──────────────────────────────────────────────────────────────────


async def test_who_takes_a_case_copies_its_rows_which_stay_when_pings_are_forgotten(
    investigator, stored, copies, open_case
):
    case_id = await open_case(copies)
    assert (await investigator.post(f"/cases/{case_id}", f"/cases/{case_id}", action="take")).status == 303
    hold = await stored.fetchrow(
        "SELECT rows, is_whole, ground FROM case_holds WHERE case_id = $1", UUID(case_id)
    )
    assert (hold["rows"], hold["is_whole"]) == (6, True)
    assert "beyond their retention" in hold["ground"]
    await stored.execute(
        "DELETE FROM pings WHERE installation_id = ANY ($1::text[]::uuid[])", [each.id for each in copies]
    )
    page = (await investigator.get(f"/cases/{case_id}")).body.decode()
    assert "6 pings" in page
    assert [next(iter(each)) for each in await history(stored, case_id)] == ["held", "owner"]
    await copies[0].send(copies[0].ping())
    await investigator.post(f"/cases/{case_id}", f"/cases/{case_id}", action="hold")
    assert await stored.fetchval("SELECT rows FROM case_holds WHERE case_id = $1", UUID(case_id)) == 7
    wrong = await investigator.post(f"/cases/{case_id}", f"/cases/{case_id}", action="release_hold")
    assert (wrong.status, "Say why" in wrong.body.decode()) == (422, True)
    await investigator.post(
        f"/cases/{case_id}", f"/cases/{case_id}", action="release_hold", reason="it was decided"
    )
    assert await stored.fetchval("SELECT count(*) FROM case_rows WHERE case_id = $1", UUID(case_id)) == 0


async def test_an_export_by_the_command_is_checked_by_the_verifier_alone(
    common_server, stored, copies, open_case, tmp_path
):
    case_id = await open_case(copies, name=HOSTILE.replace("\u202e", ""))
    made = common_server.command(
        "investigate",
        "export",
        case_id,
        "--to",
        str(tmp_path / "bag"),
        "--purpose",
        "for counsel",
        "--redact",
        "nothing",
        "--reason",
        "asked",
    )
    command = [sys.executable, "-I", "-S", str(VERIFIER), str(tmp_path / "bag"), "--trusted-key", made["key"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (1, 2), done.stdout
    assert "no time stamp" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "bag/data/rows/pings.ndjson").read_text().splitlines()]
    assert {row["installation_id"] for row in rows} == {each.id for each in copies}
    assert made["rows"] == len(rows) == 6
    custody = [json.loads(line) for line in (tmp_path / "bag/data/custody.ndjson").read_text().splitlines()]
    assert [json.loads(each["content"])["action"] for each in custody] == ["case.export"]
    assert json.loads(custody[0]["content"])["reason"] == "for counsel"
    rule = (tmp_path / "bag/data/rules/over_seats.sql").read_text()
    assert '"leeway": 2' in rule
    assert "SELECT" in rule
    assert "<script>" not in (tmp_path / "bag/data/report.html").read_text()
    handed = await stored.fetchrow(
        "SELECT purpose, redaction, statement FROM case_handovers WHERE case_id = $1", UUID(case_id)
    )
    assert tuple(handed) == ("for counsel", "nothing", (tmp_path / "bag/statement.txt").read_text())
    assert [action for action, _ in await audited(stored, case_id)] == ["case.export", "case.change"]


async def test_the_page_exports_a_zip_that_names_the_hand_over_before_it(
    investigator, stored, copies, open_case, tmp_path
):
    case_id = await open_case(copies)
    here = f"/cases/{case_id}"
    assert (await investigator.post(f"{here}/evidence", here, purpose="")).status == 422
    first = await investigator.post(f"{here}/evidence", here, purpose="to the customer")
    second = await investigator.post(f"{here}/evidence", here, purpose="to counsel", redact="people")
    assert first.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(second.body)) as packed:
        packed.extractall(tmp_path)
    [bag] = tmp_path.iterdir()
    assert verifier().verify(str(bag)).problems == []
    [before] = json.loads((bag / "data/handovers.json").read_text())
    assert before["purpose"] == "to the customer"
    assert "127.0.0.1" not in (bag / "data/rows/pings.ndjson").read_text()
    assert json.loads((bag / "data/rows/pings.ndjson").read_text().splitlines()[0])[
        "client_address"
    ].startswith("[address")
    assert "ACME Hosting" not in "".join(path.read_text() for path in bag.rglob("*") if path.is_file())
    exported = [each["exported"]["purpose"] for each in await history(stored, case_id) if "exported" in each]
    assert exported == ["to the customer", "to counsel"]


async def test_an_export_has_all_of_a_long_history_and_custody(stored, open_case, monkeypatch):
    monkeypatch.setattr(export, "_ENTRIES_AT_ONCE", 2)
    case_id = await open_case([])
    await stored.execute(
        "INSERT INTO case_history (history_id, case_id, at, by, what)"
        " SELECT gen_random_uuid(), $1, now(), 'ann', '{\"note\": \"x\"}' FROM generate_series(1, 600)",
        UUID(case_id),
    )
    for _ in range(5):
        viewed = audit.Entry(actor="ann", action="case.view", subject_kind="case", subject_id=case_id)
        await audit.record(stored, viewed)
    while await stored.fetchval("SELECT count(*) FROM audit_waiting"):
        await asyncio.sleep(0.1)
    wanted = export.Wanted(case_id=UUID(case_id), purpose="x", profile=Profile.NOTHING)
    file = await export._case_file(stored, wanted, [], f"a log\n{await size_of(stored)}\n")
    assert (len(file.history), len(file.custody)) == (600, 5)
    leaves = [each.leaf for each in file.custody]
    assert leaves == sorted(set(leaves))


# ── what people do ────────────────────────────────────────────────────────────────────────────


async def test_every_action_is_in_the_history_and_in_the_audit_log(program, stored, copies, open_case):
    case_id = await open_case(copies)
    acts = [
        {"action": "take"},
        {"action": "note", "reason": "asked @noone@example.com"},
        {"action": "wait", "until": WEEK, "reason": "for their answer"},
        {"action": "open"},
        {"action": "exception", "rule": "over_seats", "until": WEEK, "reason": "a failover pair"},
        {"action": "decide", "decision": "explained", "reason": "they showed us the pair"},
        {"action": "open", "reason": "it came back"},
        {"action": "release"},
    ]
    for each in acts:
        status, found = await program("POST", f"/api/v1/cases/{case_id}", each)
        assert status == 200, found
    assert found["state"] == "reopened"
    kinds = [next(iter(each)) for each in await history(stored, case_id)]
    assert sorted(kinds[:2]) == ["held", "owner"]  # at one time
    assert kinds[2:] == ["note", "state", "state", "paused", "state", "state", "owner"]
    entries = await audited(stored, case_id)
    assert [action for action, _ in entries] == ["case.change"] * len(acts)
    assert "they showed us the pair" in {reason for _, reason in entries}


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "erase"},
        {"action": "note"},
        {"action": "decide", "decision": "guilty", "reason": "x"},
        {"action": "decide", "decision": "confirmed"},
        {"action": "snooze", "until": "2020-01-01"},
        {"action": "known_and_fine", "until": "2099-01-01", "reason": "for ever"},
        {"action": "known_and_fine", "until": WEEK},
        {"action": "exception", "until": WEEK, "reason": "x"},
        {"action": "merge", "reason": "x"},
        {"action": "unmerge"},
        {"action": "end_pause", "target": "00000000-0000-0000-0000-000000000000"},
        {"action": "note", "reason": "a\u202eb"},
        {"action": "note", "reason": "x" * 2001},
        {"action": "take", "also": "this"},
    ],
    ids=str,
)
async def test_an_action_without_what_it_needs_changes_nothing(program, stored, copies, open_case, wrong):
    case_id = await open_case([])
    status, answer = await program("POST", f"/api/v1/cases/{case_id}", wrong)
    assert status in {400, 404}, answer
    assert await history(stored, case_id) == []
    assert await audited(stored, case_id) == []


async def test_what_is_put_aside_leaves_the_queue_until_its_day(program, stored, copies, open_case):
    case_id = await open_case([], "over_seats", "shared_key")
    path = f"/api/v1/cases/{case_id}"
    assert await listed(program, case_id, rule="shared_key")
    assert not await listed(program, case_id, rule="live_clone")
    for rule, is_there in (("over_seats", True), ("shared_key", False)):
        await program("POST", path, {"action": "exception", "rule": rule, "until": WEEK, "reason": "known"})
        assert bool(await listed(program, case_id)) == is_there
    [item] = await listed(program, case_id, state="paused")
    assert item["paused"] == "exception"
    await stored.execute("UPDATE case_pauses SET until = now() WHERE case_id = $1", UUID(case_id))
    assert await listed(program, case_id)
    await program("POST", path, {"action": "snooze", "until": WEEK})
    [item] = await listed(program, case_id, state="paused")
    assert item["paused"] == "snooze"
    pause = await stored.fetchval(
        "SELECT pause_id FROM case_pauses WHERE case_id = $1 AND kind = 'snooze'", UUID(case_id)
    )
    assert (await program("POST", path, {"action": "end_pause", "target": str(pause)}))[0] == 200
    assert await listed(program, case_id)
    await program("POST", path, {"action": "decide", "decision": "confirmed", "reason": "seen"})
    assert not await listed(program, case_id)
    assert await listed(program, case_id, state="decided")


async def test_a_merge_says_why_keeps_both_histories_and_is_taken_back(
    program, investigator, stored, copies, open_case
):
    one, other = await open_case(copies, "over_seats"), await open_case(copies, "shared_key", name="Other")
    page = (await investigator.get(f"/cases/{one}")).body.decode()
    assert "Other: shares 2 copies" in page
    merge = {"action": "merge", "target": other, "reason": "the same two servers"}
    assert (await program("POST", f"/api/v1/cases/{one}", merge))[0] == 200
    _, found = await program("GET", f"/api/v1/cases/{other}")
    assert {each["rule"] for each in found["findings"]} == {"over_seats", "shared_key"}
    assert found["history"][0]["note"] == "the same two servers"
    assert not await listed(program, one, state="all")
    assert (await program("POST", f"/api/v1/cases/{one}", {"action": "take"}))[0] == 400
    assert (await program("POST", f"/api/v1/cases/{one}", {"action": "unmerge"}))[0] == 200
    for case_id, rule in ((one, "over_seats"), (other, "shared_key")):
        _, found = await program("GET", f"/api/v1/cases/{case_id}")
        assert [each["rule"] for each in found["findings"]] == [rule]
        assert {next(iter(each)) for each in await history(stored, case_id)} & {"unmerged", "unmerged_from"}


async def test_a_merge_below_another_one_is_taken_back_after_that(program, copies, open_case):
    rules = ("over_seats", "shared_key", "clock_back")
    cases = [await open_case(copies, rule, name=rule) for rule in rules]
    paths = [f"/api/v1/cases/{case_id}" for case_id in cases]
    for path, target in zip(paths, cases[1:], strict=False):
        merge = {"action": "merge", "target": target, "reason": "the same servers"}
        assert (await program("POST", path, merge))[0] == 200
    status, answer = await program("POST", paths[0], {"action": "unmerge"})
    assert (status, "own merge back first" in str(answer)) == (400, True)
    for path in reversed(paths[:2]):
        assert (await program("POST", path, {"action": "unmerge"}))[0] == 200
    for path, rule in zip(paths, rules, strict=True):
        _, found = await program("GET", path)
        assert [each["rule"] for each in found["findings"]] == [rule]


async def test_of_two_opposite_merges_one_is_done(program, open_case):
    for _ in range(5):
        cases = [await open_case([]), await open_case([])]
        merges = [
            program("POST", f"/api/v1/cases/{one}", {"action": "merge", "target": other, "reason": "same"})
            for one, other in (cases, cases[::-1])
        ]
        assert sorted(status for status, _ in await asyncio.gather(*merges)) == [200, 400]


async def test_decisions_are_the_precision_of_the_rules_that_led_to_them(
    program, investigator, copies, open_case
):
    for decision in ("confirmed", "confirmed", "explained", "unclear"):
        case_id = await open_case([], "clock_back")
        act = {"action": "decide", "decision": decision, "reason": "looked at it"}
        assert (await program("POST", f"/api/v1/cases/{case_id}", act))[0] == 200
    page = (await investigator.get("/cases?state=all")).body.decode()
    card = page[page.index('id="precision"') :]
    assert "67 %" in card
    assert "(21 to 94 %)" in card


async def test_files_are_small_few_and_never_shown_as_a_page(investigator, stored, copies, open_case):
    case_id = await open_case([])
    here = f"/cases/{case_id}"
    page = b"<script>alert(1)</script>"
    assert (await investigator.post(f"{here}/files", here, file=("../<b>a.html", page))).status == 303
    file_id = await stored.fetchval(
        "SELECT attachment_id FROM case_attachments WHERE case_id = $1", UUID(case_id)
    )
    answer = await investigator.get(f"{here}/files/{file_id}")
    assert (answer.body, answer.headers["Content-Type"]) == (page, "application/octet-stream")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{file_id}.bin"'
    assert "<b>a.html" not in (await investigator.get(here)).body.decode()
    too_large = await investigator.post(f"{here}/files", here, file=("a", b"x" * 1_000_001))
    assert (too_large.status, "1 MB at most" in too_large.body.decode()) == (422, True)
    await stored.execute(
        "INSERT INTO case_attachments SELECT gen_random_uuid(), case_id, added_at, added_by, name, content"
        " FROM case_attachments CROSS JOIN generate_series(1, 19) WHERE case_id = $1",
        UUID(case_id),
    )
    too_many = await investigator.post(f"{here}/files", here, file=("a", b"x"))
    assert (too_many.status, "20 files at most" in too_many.body.decode()) == (422, True)
    assert (await investigator.post(here, here, action="detach", target=str(file_id))).status == 303


async def test_the_file_of_a_case_of_a_restricted_subject_is_hidden_as_its_case_is(
    investigator, stored, copies, open_case
):
    here = f"/cases/{await open_case(copies)}"
    assert (await investigator.post(f"{here}/files", here, file=("a.txt", b"x"))).status == 303
    file_id = await stored.fetchval(
        "SELECT attachment_id FROM case_attachments ORDER BY added_at DESC LIMIT 1"
    )
    pages = here, f"{here}/files/{file_id}"
    assert [(await investigator.get(page)).status for page in pages] == [200, 200]
    subject, now = Subject("installation", UUID(copies[0].id)), datetime.now(UTC)
    await restrictions.begin(stored, subject, by=Author("a test", "contested"), now=now)
    assert [(await investigator.get(page)).status for page in pages] == [404, 404]
    await restrictions.withdraw(stored, subject, by=Author("a test", "settled"), now=now)


async def test_a_case_page_shows_hostile_text_as_text(program, investigator, copies, open_case):
    case_id = await open_case(copies, name="<img src=x onerror=alert(1)>")
    note = {"action": "note", "reason": "</textarea><script>alert(2)</script>"}
    assert (await program("POST", f"/api/v1/cases/{case_id}", note))[0] == 200
    for path in f"/cases/{case_id}", "/cases":
        page = (await investigator.get(path)).body.decode()
        assert "<img src=x" not in page
        assert "<script>alert" not in page
    assert "does not mean" in page.lower() or "accuses no one" in page


async def test_what_is_to_be_cleared_up_links_to_the_case_of_its_subject(
    investigator, stored, copies, open_case
):
    case_id = await open_case(copies)
    subject = await stored.fetchval("SELECT subject_id FROM cases WHERE case_id = $1", UUID(case_id))
    item = await stored.fetchval(
        "INSERT INTO clear_up_items (clear_up_id, kind, subject, product_id, size, first_at, last_at, opened_at)"
        " SELECT gen_random_uuid(), 'shared_identity', $1, product_id, 1, now(), now(), now() FROM cases"
        " WHERE case_id = $2 RETURNING clear_up_id",
        subject,
        UUID(case_id),
    )
    for path in f"/to-clear-up/{item}", "/to-clear-up":
        assert f'href="/cases/{case_id}"' in (await investigator.get(path)).body.decode()


# ── what no part of it does ───────────────────────────────────────────────────────────────────

OWN = {
    "findings",
    "cases",
    "case_findings",
    "case_history",
    "case_rows",
    "case_holds",
    "case_handovers",
    "case_attachments",
    "case_pauses",
}


def test_no_code_path_acts_on_a_customer():
    """The wing writes to its own tables only, and calls nothing that changes the registry, sends or erases."""
    written = {
        table
        for module in modules()
        if module.startswith("telemetry_server.investigate")
        for sql in load(module).values()
        for table in re.findall(
            r"\b(?:INSERT INTO|UPDATE|DELETE FROM|TRUNCATE|MERGE INTO)\s+(\w+)",
            re.sub("FOR UPDATE|DO UPDATE", "", sql),
        )
    }
    assert written == OWN
    acting = re.compile(
        r"license_changes|license_import|shop|release_changes|mailer|erasing|level_limits|grant|smtplib|urllib|support|privacy"
    )
    imported = set()
    for path in (ROOT / "telemetry_server" / "investigate").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    assert {name for name in imported if acting.search(name)} == set()
    assert "telemetry_server.store.access.audit" in imported


def test_the_words_are_those_of_leads():
    folders = (
        ROOT / "telemetry_server" / "show" / "templates" / "investigate",
        ROOT / "telemetry_server" / "investigate",
    )
    accusing = re.compile(
        r"\b(guilty|guilt|pirate[ds]?|piracy|thief|theft|stolen|criminal|cheat\w*|fraud\w*|culprit)\b",
        re.IGNORECASE,
    )
    found = {
        (path.name, word)
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in {".html", ".py", ".sql"}
        for word in accusing.findall(path.read_text())
    }
    denied = {
        (name, word) for name, word in found if name in {"report.html", "report.py"} and word == "guilty"
    }
    assert found - denied == {("case_words.py", "guilt")} | {
        each
        for each in found
        if each[0] in {"rule_files.py", "measuring.py", "figures.py", "score.py", "jobs.py"}
    }
