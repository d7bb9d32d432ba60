"""Cases in the API: the queue, one case, and actions on it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest
from telemetry_server.investigate import case_lists
from telemetry_server.investigate.case_pages import FILTERS, carry_out, read_case, wanted_cases
from telemetry_server.investigate.case_words import described, similar
from telemetry_server.investigate.case_work import Action
from telemetry_server.show.body import read_object
from telemetry_server.show.paging import LIMIT
from telemetry_server.show.query import read_path, read_query
from telemetry_server.show.responses import json_response
from telemetry_server.store.reading import reading

PARAMETERS = (*FILTERS, LIMIT)


class CaseItem(Struct, kw_only=True):
    """A case of the queue.

    `in_100_simulated`: in how many of 100 simulated cases with this evidence a copy should not have existed.
    It accuses no one. `paused`: exception, snooze or known_and_fine.
    """

    id: UUID
    product: str
    subject_kind: str
    subject_id: str
    name: str
    state: str
    owner: str | None
    decision: str | None
    score: float
    in_100_simulated: int
    rules: list[str]
    first_seen: datetime
    last_seen: datetime
    opened_at: datetime
    wait_until: datetime | None
    paused: str | None
    paused_until: datetime | None


class CaseQueue(Struct):
    """Cases, those worth a look first, and how many match."""

    items: list[CaseItem]
    total: int


class CaseFinding(Struct, kw_only=True):
    """What a rule saw. `unscored`: why it does not count; null: it counts."""

    rule: str
    subject_kind: str
    subject_id: str
    strength: float
    first_seen: datetime
    last_seen: datetime
    closed_at: datetime | None
    closed_why: str | None
    unscored: str | None
    evidence: dict[str, Any]


class CaseEvent(Struct):
    """What happened to a case."""

    at: datetime
    by: str
    what: str
    note: str | None


class CaseView(Struct, kw_only=True):
    """A case with its findings and its history, the newest first."""

    id: UUID
    product: str
    subject_kind: str
    subject_id: str
    name: str
    state: str
    wait_until: datetime | None
    owner: str | None
    decision: str | None
    decision_reason: str | None
    score: float
    meaning: str
    waterfall: dict[str, Any]
    merged_into: UUID | None
    held_rows: int
    findings: list[CaseFinding]
    history: list[CaseEvent]


async def list_cases(request: web.Request) -> web.Response:
    asked, now = read_query(request, PARAMETERS), datetime.now(UTC)
    async with reading(request.app[app_keys.POOL]) as connection:
        wanted = wanted_cases(request, asked)
        rows, total = await case_lists.find_cases(connection, wanted, now=now, limit=asked["limit"])
    return json_response(CaseQueue([_item(row) for row in rows], total))


async def show_case(request: web.Request) -> web.Response:
    read_query(request, ())
    return await _answer(request)


async def act(request: web.Request) -> web.Response:
    read_query(request, ())
    document = await read_object(request)
    try:
        action = msgspec.convert(document, Action)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The action is not one: {error}.") from None
    await carry_out(request, read_path(request, "case_id"), action, datetime.now(UTC))
    return await _answer(request)


async def _answer(request: web.Request) -> web.Response:
    async with reading(request.app[app_keys.POOL]) as connection:
        found = await read_case(connection, read_path(request, "case_id"))
    case = found["case"]
    names = CaseView.__struct_fields__
    return json_response(
        CaseView(
            id=_uuid(case["case_id"]),
            meaning=similar(case["score"]),
            held_rows=sum(found["counts"].values()),
            merged_into=case["merged_into"] and _uuid(case["merged_into"]),
            findings=[
                CaseFinding(**{name: row[name] for name in CaseFinding.__struct_fields__})
                for row in found["findings"]
            ],
            history=[CaseEvent(row["at"], row["by"], *described(row["what"])) for row in found["history"]],
            **{name: case[name] for name in names if name in case and name != "merged_into"},
        )
    )


def _item(row: case_lists.Row) -> CaseItem:
    same = {name: row[name] for name in CaseItem.__struct_fields__ if name in row}
    return CaseItem(id=_uuid(row["case_id"]), in_100_simulated=round(100 * row["score"]), **same)


def _uuid(value: Any) -> UUID:
    """The driver has a class of its own."""
    return UUID(bytes=value.bytes)
