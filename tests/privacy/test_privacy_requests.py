"""Requests of data subjects: their time, their states, what is done for them, and the draft of an answer."""

import json
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner

from telemetry_server.check.fields import Level, load_registry
from telemetry_server.check.licenses.columns import customer_patch
from telemetry_server.cli import main
from telemetry_server.model import Author
from telemetry_server.privacy import fulfilment, letters
from telemetry_server.privacy.deadlines import due_on
from telemetry_server.privacy.store import level_limits, requests
from telemetry_server.privacy.store.requests import RequestKind, RequestState, WrongRequest
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.access import audit
from telemetry_server.store.registry.customers import create_customer, customer_by_id

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ANN = Author("ann")


@pytest.fixture
async def customer(connection):
    patch, _ = customer_patch({"email": "ada@example.com", "company": "Lovelace"})
    return Subject("customer", (await create_customer(connection, patch, by=ANN, now=NOW)).customer_id)


@pytest.mark.parametrize(
    ("received", "due", "extended"),
    [
        (date(2026, 1, 31), date(2026, 2, 28), date(2026, 4, 30)),
        (date(2024, 1, 30), date(2024, 2, 29), date(2024, 4, 30)),
        (date(2026, 11, 30), date(2026, 12, 30), date(2027, 2, 28)),
        (date(2026, 12, 1), date(2027, 1, 1), date(2027, 3, 1)),
    ],
)
def test_a_request_is_due_a_calendar_month_after_it_was_received(received, due, extended):
    assert (due_on(received), due_on(received, extended=True)) == (due, extended)


async def test_a_request_is_extended_once_with_a_reason_and_refused_with_a_ground(connection, customer):
    one = await requests.file(connection, RequestKind.ACCESS, customer, by=ANN, now=NOW)
    with pytest.raises(WrongRequest, match="has a reason"):
        await requests.extend(connection, one, by=ANN, now=NOW)
    because = Author("ann", "forty installations")
    assert await requests.extend(connection, one, by=because, now=NOW) == date(2026, 4, 30)
    with pytest.raises(WrongRequest, match="once"):
        await requests.extend(connection, one, by=because, now=NOW)
    with pytest.raises(WrongRequest, match="ground"):
        await requests.move(connection, one, RequestState.REFUSED, by=ANN, now=NOW)
    await requests.move(connection, one, RequestState.WAITING, by=ANN, now=NOW)
    await requests.move(connection, one, RequestState.REFUSED, by=Author("ann", "excessive"), now=NOW)
    found = await requests.request(connection, one)
    assert (found.state, found.closed_at, found.name) == ("refused", NOW, "Lovelace")
    steps = await requests.steps_of(connection, one)
    assert [each.step for each in steps] == ["filed", "extended", "waiting", "refused"]
    text = letters.letter(found, steps, NOW.date())
    assert "excessive" in text
    assert "forty installations" in text
    actions = await audit.find(connection, audit.AuditFilter(subject_id=str(one)), limit=9)
    assert [each.action for each in actions] == [
        *("request.refused", "request.waiting", "request.extended", "request.file")
    ]


async def test_what_is_overdue_comes_first_and_is_counted(connection, customer):
    today = NOW.date()
    for received in (today, today - timedelta(days=40), today - timedelta(days=27)):
        await requests.file(connection, RequestKind.ACCESS, customer, by=ANN, now=NOW, received_on=received)
    found = await requests.unanswered(connection)
    assert [each.is_overdue(today) for each in found] == [True, False, False]
    assert [each.is_due_soon(today) for each in found] == [False, True, False]
    assert await requests.due(connection, today) == requests.Due(overdue=1, soon=1)
    with pytest.raises(WrongRequest, match="future"):
        tomorrow = today + timedelta(days=1)
        await requests.file(connection, RequestKind.ACCESS, customer, by=ANN, now=NOW, received_on=tomorrow)


async def test_a_closed_request_is_forgotten_after_three_years(connection, customer):
    await requests.file_answered(connection, RequestKind.ACCESS, customer, by=ANN, now=NOW)
    assert await requests.forget(connection, NOW + requests.KEPT) == 0
    assert await requests.forget(connection, NOW + requests.KEPT + timedelta(days=1)) == 1


@pytest.mark.parametrize(("purpose", "level"), [("improvement", Level.SYSTEM), ("operations", Level.LICENSE)])
async def test_an_objection_to_a_purpose_limits_what_is_kept(connection, customer, purpose, level):
    one = await requests.file(connection, RequestKind.OBJECTION, customer, by=ANN, now=NOW, purpose=purpose)
    found = await requests.request(connection, one)
    assert await fulfilment.object_to(connection, found, load_registry(), by=ANN, now=NOW) is level
    [limit] = await level_limits.limits(connection)
    assert (limit.subject, limit.level) == (customer, level)


def test_what_every_ping_needs_cannot_be_objected_to():
    with pytest.raises(WrongRequest, match="Every ping needs"):
        fulfilment.level_without(load_registry(), "delivery")


async def test_a_correction_keeps_what_was_before(connection, customer):
    one = await requests.file(connection, RequestKind.RECTIFICATION, customer, by=ANN, now=NOW)
    patch, _ = customer_patch({"email": "ada@lovelace.example"})
    found = await requests.request(connection, one)
    await fulfilment.correct(connection, found, patch, by=ANN, now=NOW)
    assert (await customer_by_id(connection, customer.id)).email == "ada@lovelace.example"
    steps = await requests.steps_of(connection, one)
    assert steps[-1].details == {"changed": {"email": ["ada@example.com", "ada@lovelace.example"]}}
    assert "email: ada@lovelace.example" in letters.letter(found, steps, NOW.date())
    with pytest.raises(WrongRequest, match="Nothing differs"):
        await fulfilment.correct(connection, found, patch, by=ANN, now=NOW)


async def test_an_operator_replaces_the_text_of_a_letter(connection, customer, tmp_path):
    one = await requests.file(connection, RequestKind.ACCESS, customer, by=ANN, now=NOW)
    found = await requests.request(connection, one)
    (tmp_path / "access.txt").write_text("Dear $subject, due $due; $unknown stays.")
    said = letters.letter(found, await requests.steps_of(connection, one), NOW.date(), directory=tmp_path)
    assert said == "Dear customer Lovelace, due 2026-02-28; $unknown stays.\n"


def test_the_commands_file_list_and_answer(database, tmp_path):
    environment = {"TELEMETRY_DATABASE_URL": database, "TELEMETRY_DATA": str(tmp_path)}

    def run(*arguments):
        done = CliRunner().invoke(main, ["privacy", "request", *arguments, "--json"], env=environment)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    copy = str(uuid4())
    made = run("add", "erasure", "--installation", copy, "--received", "2026-01-31", "--reason", "by letter")
    assert (made["due_on"], made["overdue"], made["state"]) == ("2026-02-28", True, "open")
    run("owner", made["request_id"], "ann")
    [listed] = run("list")["requests"]
    assert (listed["subject_id"], listed["owner"]) == (copy, "ann")
    assert "Article 17" in run("letter", made["request_id"])["letter"]
    assert run("set", made["request_id"], "answered")["state"] == "answered"
    shown = run("show", made["request_id"])
    assert [each["step"] for each in shown["history"]] == ["filed", "owner", "answered"]
    assert UUID(shown["subject_id"]) == UUID(copy)
