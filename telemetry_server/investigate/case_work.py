"""What people do with a case. Each action is a row of its history, and an entry of the audit log.

No action changes a license, an installation or a customer, and none is carried out by itself.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson
from msgspec import Struct

from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.investigate import case_rows
from telemetry_server.investigate.case_lists import NoSuchCase
from telemetry_server.model import Author
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

MOST_ATTACHMENTS = 20
LARGEST_ATTACHMENT = 1_000_000
"""With the fields beside it, the form has to stay below 1 MiB."""
LONGEST_PAUSE = timedelta(days=366)
LONGEST_TEXT = 2_000
GROUND = "evidence of a case that people work on: its rows are needed beyond their retention"
_MENTION = re.compile(r"(?<!\S)@([^\s@<>,;:]{1,64}@[^\s@<>,;:]{1,190}[^\s@<>,;:.])")


class CaseAction(StrEnum):
    """What a person does with a case."""

    TAKE = "take"
    RELEASE = "release"
    NOTE = "note"
    WAIT = "wait"
    OPEN = "open"
    DECIDE = "decide"
    SNOOZE = "snooze"
    KNOWN_AND_FINE = "known_and_fine"
    EXCEPTION = "exception"
    END_PAUSE = "end_pause"
    MERGE = "merge"
    UNMERGE = "unmerge"
    HOLD = "hold"
    RELEASE_HOLD = "release_hold"
    DETACH = "detach"


class Decision(StrEnum):
    """What came of a case: a label for the rules that led to it."""

    CONFIRMED = "confirmed"
    EXPLAINED = "explained"
    UNCLEAR = "unclear"


class Action(Struct, kw_only=True, forbid_unknown_fields=True):
    """An action on a case, and what it needs.

    `reason` is the note, the reason of a decision, or the ground of a hold. `until` is a day. `rule` is of an
    exception. `target` is the case to merge into, a pause, or a file.
    """

    action: CaseAction
    reason: str = ""
    until: str = ""
    decision: Decision | None = None
    rule: str = ""
    target: UUID | None = None


What = Mapping[str, Any]


async def act(connection: Connection, case_id: UUID, action: Action, *, by: Author, now: datetime) -> None:
    """Carries out an action in a transaction. Raises NoSuchCase or BadRequest."""
    if len(action.reason) > LONGEST_TEXT:
        raise BadRequest(f"A text has {LONGEST_TEXT:,} characters at most.")
    async with _changed(connection, case_id, by, now, action) as (case, said):
        if case["merged_into"] is not None and action.action is not CaseAction.UNMERGE:
            raise BadRequest("This case was merged into another one: work on that, or take the merge back.")
        said.update(await _ACTIONS[action.action](connection, case, action, by, now))


async def attach(
    connection: Connection, case_id: UUID, name: str, content: bytes, *, by: Author, now: datetime
) -> None:
    """Adds a file to a case. Raises NoSuchCase or BadRequest."""
    if not content or len(content) > LARGEST_ATTACHMENT:
        raise BadRequest("A file has 1 MB at most, and is not empty.")
    name = " ".join(name.split())[-200:] or "file"
    async with _changed(connection, case_id, by, now) as (_, said):
        if await connection.fetchval(SQL["count_attachments"], case_id) >= MOST_ATTACHMENTS:
            raise BadRequest(f"A case has {MOST_ATTACHMENTS} files at most: remove one first.")
        await connection.execute(SQL["attach"], uuid7(), case_id, now, by.actor, name, content)
        said["attached"] = {"name": name, "size": len(content)}


async def hold_for_work(connection: Connection, case_id: UUID, *, by: Author, now: datetime) -> None:
    """Copies the rows of a case that is opened for work, if no one did so before. In a transaction."""
    held = await case_rows.hold_of(connection, case_id)
    if held is None or not held.is_held:
        held = await case_rows.hold(connection, case_id, ground=GROUND, by=by.actor, now=now)
        await record_history(connection, case_id, {"held": {"ground": GROUND, "rows": held.rows}}, by, now)


async def hand_over(
    connection: Connection,
    case_id: UUID,
    *,
    purpose: str,
    redaction: str,
    rows: int,
    sha256: bytes,
    statement: str,
    by: Author,
    now: datetime,
) -> None:
    """Records that the evidence of a case is handed over, before it leaves. Raises NoSuchCase."""
    async with _changed(connection, case_id, by, now) as (_, said):
        await connection.execute(
            SQL["hand_over"], uuid7(), case_id, now, by.actor, purpose, redaction, rows, sha256, statement
        )
        said["exported"] = {"purpose": purpose, "redaction": redaction, "sha256": sha256.hex()}


async def record_history(
    connection: Connection, case_id: UUID, what: What, by: Author, now: datetime
) -> None:
    await connection.execute(SQL["record"], uuid7(), case_id, now, by.actor, orjson.dumps(what).decode())


@asynccontextmanager
async def _changed(
    connection: Connection, case_id: UUID, by: Author, now: datetime, action: Action | None = None
) -> AsyncIterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """The case, locked, and what is to be said of the change; both records are in its transaction."""
    async with connection.transaction():
        case = await _locked(connection, case_id, action)
        said: dict[str, Any] = {}
        yield case, said
        await record_history(connection, case_id, said, by, now)
        entry = audit.Entry(
            actor=by.recorded_as or by.actor,
            action="case.change",
            subject_kind="case",
            subject_id=str(case_id),
            network=by.network,
            reason=(action.reason.strip() or None) if action else by.reason,
            details={"action": action.action} if action else {name: said[name] for name in said},
        )
        await audit.record(connection, entry, now)


async def _locked(connection: Connection, case_id: UUID, action: Action | None) -> What:
    """The case; it and the other one of a merge are locked by id, so that two merges never deadlock."""
    ids = {case_id.int}
    if action is not None and action.action is CaseAction.MERGE and action.target is not None:
        ids.add(action.target.int)
    elif action is not None and action.action is CaseAction.UNMERGE:
        target = await connection.fetchval(SQL["target_of"], case_id)
        ids |= {target.int} if target is not None else set()
    found = {each: await connection.fetchrow(SQL["lock"], UUID(int=each)) for each in sorted(ids)}
    case: What | None = found[case_id.int]
    if case is None:
        raise NoSuchCase
    return case


# ── the actions ─────────────────────────────────────────────────────────────────────────────


async def _take(connection: Connection, case: What, _: Action, by: Author, now: datetime) -> What:
    await hold_for_work(connection, case["case_id"], by=by, now=now)
    await connection.execute(SQL["set_owner"], case["case_id"], by.actor)
    return {"owner": {"before": case["owner"], "after": by.actor}}


async def _release(connection: Connection, case: What, _: Action, __: Author, ___: datetime) -> What:
    await connection.execute(SQL["set_owner"], case["case_id"], None)
    return {"owner": {"before": case["owner"], "after": None}}


async def _note(connection: Connection, _: What, action: Action, __: Author, ___: datetime) -> What:
    named = [each.lower() for each in _MENTION.findall(action.reason)]
    known = [row["email"] for row in await connection.fetch(SQL["people_named"], named)] if named else []
    return {"note": _reason(action, "Write something first."), "mentions": known}


async def _wait(connection: Connection, case: What, action: Action, by: Author, now: datetime) -> What:
    until = _until(action, now)
    await hold_for_work(connection, case["case_id"], by=by, now=now)
    await connection.execute(SQL["set_state"], case["case_id"], "waiting", until)
    return _state(case, "waiting", until=until, reason=_reason(action, "Say what it waits for."))


async def _open(connection: Connection, case: What, action: Action, by: Author, now: datetime) -> What:
    await hold_for_work(connection, case["case_id"], by=by, now=now)
    after = "reopened" if case["decision"] else "open"
    await connection.execute(SQL["set_state"], case["case_id"], after, None)
    return _state(case, after, reason=action.reason.strip() or None)


async def _decide(connection: Connection, case: What, action: Action, by: Author, now: datetime) -> What:
    if action.decision is None:
        raise BadRequest("decision must be confirmed, explained or unclear.")
    reason = _reason(action, "Give the reason of the decision: others rely on it.")
    await hold_for_work(connection, case["case_id"], by=by, now=now)
    await connection.execute(SQL["decide"], case["case_id"], action.decision, reason)
    return _state(case, "decided", reason=reason) | {"decision": action.decision}


async def _pause(connection: Connection, case: What, action: Action, by: Author, now: datetime) -> What:
    is_exception = action.action is CaseAction.EXCEPTION
    if is_exception and not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", action.rule):
        raise BadRequest("An exception names the rule that does not count here.")
    until, rule = _until(action, now), action.rule if is_exception else None
    reason: str | None = action.reason.strip() or None
    if action.action is not CaseAction.SNOOZE:
        reason = _reason(action, "Give the reason: it is read when the time has come.")
    await connection.execute(
        SQL["pause"], uuid7(), case["case_id"], action.action, rule, until, reason, now, by.actor
    )
    return {"paused": {"kind": action.action, "rule": rule, "until": f"{until:%Y-%m-%d}", "reason": reason}}


async def _end_pause(connection: Connection, case: What, action: Action, _: Author, now: datetime) -> What:
    ended = await connection.fetchrow(SQL["end_pause"], case["case_id"], action.target, now)
    if ended is None:
        raise NotFound("This has ended already.")
    return {"pause_ended": dict(ended)}


async def _merge(connection: Connection, case: What, action: Action, by: Author, now: datetime) -> What:
    """Into the target, which gets the findings; both histories stay, and say which findings were moved."""
    reason = _reason(action, "Say why both are one case: it is shown in both.")
    target = await connection.fetchrow(SQL["lock"], action.target)
    if target is None or target["product_id"] != case["product_id"]:
        raise NotFound("There is no such case of this product to merge into.")
    if target["case_id"] == case["case_id"] or target["merged_into"] is not None:
        raise BadRequest("Merge into another case, which is not merged itself.")
    moved = [row["finding_id"] for row in await connection.fetch(SQL["leave"], case["case_id"], None, now)]
    await connection.execute(SQL["join"], target["case_id"], moved, now)
    await connection.execute(SQL["merge"], case["case_id"], target["case_id"])
    findings = [str(each) for each in moved]
    came = {"case": str(case["case_id"]), "name": case["name"], "findings": findings, "reason": reason}
    await record_history(connection, target["case_id"], {"merged_from": came}, by, now)
    into = {"case": str(target["case_id"]), "name": target["name"], "findings": findings, "reason": reason}
    return {"merged": into}


async def _unmerge(connection: Connection, case: What, action: Action, by: Author, now: datetime) -> What:
    """Takes the last merge back: the findings that were moved return, those that came later stay."""
    if case["merged_into"] is None:
        raise BadRequest("This case is not merged.")
    target = await connection.fetchrow(SQL["lock"], case["merged_into"])
    if target["merged_into"] is not None:
        raise BadRequest("Take that case's own merge back first.")
    found = await connection.fetchval(SQL["merge_of"], case["case_id"])
    moved = [UUID(each) for each in orjson.loads(found or "[]")]
    back = [
        row["finding_id"] for row in await connection.fetch(SQL["leave"], case["merged_into"], moved, now)
    ]
    await connection.execute(SQL["join"], case["case_id"], back, now)
    await connection.execute(SQL["merge"], case["case_id"], None)
    said = {"findings": [str(each) for each in back], "reason": action.reason.strip() or None}
    gone = {"case": str(case["case_id"]), "name": case["name"], **said}
    await record_history(connection, case["merged_into"], {"unmerged_from": gone}, by, now)
    return {"unmerged": {"case": str(case["merged_into"]), **said}}


async def _hold(connection: Connection, case: What, action: Action, by: Author, now: datetime) -> What:
    ground = action.reason.strip()[:1000] or GROUND
    held = await case_rows.hold(connection, case["case_id"], ground=ground, by=by.actor, now=now)
    return {"held": {"ground": held.ground, "rows": held.rows}}


async def _release_hold(connection: Connection, case: What, action: Action, _: Author, now: datetime) -> What:
    reason = _reason(action, "Say why the rows are no longer needed: they are deleted.")
    if not await case_rows.release(connection, case["case_id"], now):
        raise BadRequest("This case holds no rows.")
    return {"hold_released": {"reason": reason}}


async def _detach(connection: Connection, case: What, action: Action, _: Author, __: datetime) -> What:
    name = await connection.fetchval(SQL["detach"], case["case_id"], action.target)
    if name is None:
        raise NotFound("There is no such file in this case.")
    return {"detached": {"name": name}}


_ACTIONS: Mapping[CaseAction, Callable[[Connection, What, Action, Author, datetime], Awaitable[What]]] = {
    CaseAction.TAKE: _take,
    CaseAction.RELEASE: _release,
    CaseAction.NOTE: _note,
    CaseAction.WAIT: _wait,
    CaseAction.OPEN: _open,
    CaseAction.DECIDE: _decide,
    CaseAction.SNOOZE: _pause,
    CaseAction.KNOWN_AND_FINE: _pause,
    CaseAction.EXCEPTION: _pause,
    CaseAction.END_PAUSE: _end_pause,
    CaseAction.MERGE: _merge,
    CaseAction.UNMERGE: _unmerge,
    CaseAction.HOLD: _hold,
    CaseAction.RELEASE_HOLD: _release_hold,
    CaseAction.DETACH: _detach,
}


def _reason(action: Action, otherwise: str) -> str:
    if not (reason := action.reason.strip()):
        raise BadRequest(otherwise)
    return reason


def _until(action: Action, now: datetime) -> datetime:
    """The end of the day, which is given as 2027-01-31. Raises BadRequest."""
    try:
        day = datetime.fromisoformat(action.until.strip()).replace(tzinfo=now.tzinfo)
    except ValueError:
        raise BadRequest("Say until which day, such as 2027-01-31.") from None
    until = day.replace(hour=23, minute=59, second=59, microsecond=0)
    if not now < until <= now + LONGEST_PAUSE + timedelta(days=1):
        raise BadRequest("Until is a day from today on, within a year: nothing is put aside for ever.")
    return until


def _state(case: What, after: str, **more: Any) -> dict[str, Any]:
    said = {"before": case["state"], "after": after, **{name: each for name, each in more.items() if each}}
    return {"state": said}
