"""The pages of cases: the queue, one case, and what people do with it."""

import asyncio
import tempfile
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, OperatorError, TelemetryError, Unavailable
from telemetry_server.investigate import case_lists, case_rows, case_work
from telemetry_server.investigate.case_lists import CaseFilter, QueueState
from telemetry_server.investigate.case_words import DECISIONS, PAUSES, STATES, described, similar
from telemetry_server.investigate.case_work import Action
from telemetry_server.investigate.export import Wanted, export_case
from telemetry_server.investigate.redaction import MEANS, Profile
from telemetry_server.investigate.report import columns_of, lanes_of, waterfall
from telemetry_server.investigate.rule_files import all_rules, shipped_rules
from telemetry_server.investigate.rules import Rule, WrongRule
from telemetry_server.logs import Severity, log
from telemetry_server.routing import Parameter
from telemetry_server.show.access.forms import UPLOADED, read_form_as
from telemetry_server.show.query import IDENTIFIER, one_of, read_path, read_query, text
from telemetry_server.show.recorded_views import author
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other, without_empty
from telemetry_server.show.scope import read_scope
from telemetry_server.show.sorting import PAGE, ROWS, pager
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access.audit_checkpoints import signer_of
from telemetry_server.store.database import Connection, translated
from telemetry_server.store.reading import reading
from telemetry_server.text import hidden_in

FILTERS = (
    Parameter("product", "The product's slug.", text()),
    Parameter(
        "state",
        "How far people are; to_do: what waits for someone.",
        one_of(*QueueState) | {"default": "to_do"},
    ),
    Parameter("owner", "me: those that I took.", one_of("me")),
    Parameter("mentioned", "me: those with a note that names me.", one_of("me")),
    Parameter("rule", "A rule that sees something in it.", text()),
)
PARAMETERS = (*FILTERS, PAGE)
CASE = Parameter("case_id", "Its id.", IDENTIFIER, where="path", required=True)
ATTACHMENT = Parameter("attachment_id", "The id of the file.", IDENTIFIER, where="path", required=True)
_ROWS_SHOWN = 50
_PIECE = 1 << 16


class CaseForm(Struct):
    """An action on a case, as `Action` has it."""

    csrf_token: str
    action: str
    reason: str = ""
    until: str = ""
    decision: str = ""
    rule: str = ""
    target: str = ""


class CaseFileForm(Struct):
    """A file for a case."""

    csrf_token: str


class ExportForm(Struct):
    """The export of the evidence: for which purpose, and what is left out."""

    csrf_token: str
    purpose: str = ""
    redact: str = Profile.NOTHING


async def queue(request: web.Request) -> web.Response:
    if (shorter := without_empty(request)) is not None:
        return shorter
    asked, now = read_query(request, PARAMETERS), datetime.now(UTC)
    scope = await read_scope(request, asked)
    wanted = wanted_cases(request, asked)
    async with reading(request.app[app_keys.POOL]) as connection:
        offset = (asked["page"] - 1) * ROWS
        rows, total = await case_lists.find_cases(connection, wanted, now=now, limit=ROWS, offset=offset)
        precision = await case_lists.precision_by_rule(connection)
    return page(
        request,
        "investigate/cases.html",
        scope=scope,
        asked=asked,
        rows=rows,
        pages=pager(request, asked, total),
        rules=await rules_by_name(request.app[app_keys.SETTINGS].own_rules),
        states=STATES,
        pauses=PAUSES,
        precision=precision,
    )


async def one_case(request: web.Request) -> web.Response:
    read_query(request, ())
    return await _case_page(request)


async def act(request: web.Request) -> web.Response:
    form, case_id, now = (
        await read_form_as(request, CaseForm),
        read_path(request, "case_id"),
        datetime.now(UTC),
    )
    given = {
        name: value for name, value in msgspec.structs.asdict(form).items() if value and name != "csrf_token"
    }
    try:
        action = msgspec.convert(given, Action, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The form is incomplete: {error}.") from None
    try:
        await carry_out(request, case_id, action, now)
    except BadRequest as problem:
        return await _case_page(request, problem=problem)
    return see_other(f"/cases/{case_id}")


async def add_file(request: web.Request) -> web.Response:
    await read_form_as(request, CaseFileForm)
    case_id, now = read_path(request, "case_id"), datetime.now(UTC)
    file = request.get(UPLOADED)
    if file is None or hidden_in(file.name):
        wrong = BadRequest("Choose a file, with a name of visible characters.")
        return await _case_page(request, problem=wrong)
    try:
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            by = author(request, None)
            await case_work.attach(connection, case_id, file.name, file.content, by=by, now=now)
    except BadRequest as problem:
        return await _case_page(request, problem=problem)
    return see_other(f"/cases/{case_id}#files")


async def file_of_case(request: web.Request) -> web.Response:
    """The file as a download: its content is never shown as a page."""
    read_query(request, ())
    async with reading(request.app[app_keys.POOL]) as connection:
        wanted = read_path(request, "case_id"), read_path(request, "attachment_id")
        await case_lists.case_by_id(connection, wanted[0])  # that of a restricted subject is not found
        _, content = await case_lists.attachment(connection, *wanted)
    headers = {
        "Content-Disposition": f'attachment; filename="{wanted[1]}.bin"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(body=content, content_type="application/octet-stream", headers=headers)


async def export(request: web.Request) -> web.StreamResponse:
    """The bag as a ZIP. It is recorded as handed over before its first byte leaves."""
    form, case_id, now = (
        await read_form_as(request, ExportForm),
        read_path(request, "case_id"),
        datetime.now(UTC),
    )
    try:
        profile = Profile(form.redact)
    except ValueError:
        raise BadRequest("redact must be nothing, addresses or people.") from None
    wanted = Wanted(case_id=case_id, purpose=form.purpose, profile=profile)
    try:
        async with _temporary() as folder:
            bag = folder / f"case-{case_id}"
            async with translated(), request.app[app_keys.POOL].acquire() as connection:
                await export_case(
                    connection,
                    bag,
                    wanted,
                    settings=request.app[app_keys.SETTINGS],
                    signer=signer_of(request.app[app_keys.KEYRING]),
                    by=author(request, None),
                    now=now,
                )
            packed = await asyncio.to_thread(_packed, bag)
            return await _sent(request, packed, f"case-{case_id}-{now:%Y%m%dT%H%M%SZ}.zip")
    except BadRequest as problem:
        return await _case_page(request, problem=problem)
    except (OperatorError, OSError) as error:
        log("evidence was not exported", Severity.ERROR, case=case_id, error=str(error))
        raise Unavailable("The evidence cannot be written now; the log of the server says why.") from error


@asynccontextmanager
async def _temporary() -> AsyncIterator[Path]:
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="evidence-")
    try:
        yield Path(folder.name)
    finally:
        await asyncio.to_thread(folder.cleanup)


def _packed(bag: Path) -> Path:
    file = bag.with_suffix(".zip")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(each for each in bag.rglob("*") if each.is_file()):
            packed.write(path, path.relative_to(bag.parent))
    return file


async def _sent(request: web.Request, file: Path, name: str) -> web.StreamResponse:
    headers = {
        "Content-Type": "application/zip",
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
    }
    answer = web.StreamResponse(headers=headers)
    await answer.prepare(request)
    opened = await asyncio.to_thread(file.open, "rb")
    with opened:
        while piece := await asyncio.to_thread(opened.read, _PIECE):
            await answer.write(piece)
    await answer.write_eof()
    return answer


async def carry_out(request: web.Request, case_id: UUID, action: Action, now: datetime) -> None:
    """Carries out an action of the sender. Raises NoSuchCase or BadRequest."""
    if hidden := hidden_in(action.reason.replace("\r\n", "\n")):
        raise BadRequest(f"The text has the invisible character {hidden}; remove it.")
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        await case_work.act(connection, case_id, action, by=author(request, None), now=now)


def wanted_cases(request: web.Request, asked: Mapping[str, Any]) -> CaseFilter:
    """The filter in the query; "me" is the sender."""
    viewer = request[VIEWER]
    return CaseFilter(
        products={asked["product"]} if "product" in asked else viewer.products,
        state=QueueState(asked["state"]),
        owner=viewer.actor if "owner" in asked else None,
        mentioned=(viewer.person.email if viewer.person else "") if "mentioned" in asked else None,
        rule=asked.get("rule"),
    )


async def rules_by_name(own: Path | None) -> dict[str, Rule]:
    """The rules that run; where one in the directory `own` is wrong, those of this package."""
    try:
        rules = await asyncio.to_thread(all_rules, own)
    except WrongRule as error:
        log("own rules are not shown", Severity.WARNING, error=error.detail)
        rules = shipped_rules()
    return {rule.name: rule for rule in rules}


async def _case_page(request: web.Request, *, problem: TelemetryError | None = None) -> web.Response:
    case_id = read_path(request, "case_id")
    rules = await rules_by_name(request.app[app_keys.SETTINGS].own_rules)
    async with reading(request.app[app_keys.POOL]) as connection:
        found = await read_case(connection, case_id)
        days = await case_rows.pings_by_day(connection, found["findings"])
        rows = await case_rows.newest_rows(connection, case_id, _ROWS_SHOWN)
        precision = {each.rule: each for each in await case_lists.precision_by_rule(connection)}
    case = found["case"]
    steps = [{"label": step["what"], "bits": step["log2"]} for step in case["waterfall"].get("steps", ())]
    prior = [{"label": "prior", "bits": case["waterfall"]["prior"]}] if case["waterfall"] else []
    return page(
        request,
        "investigate/case.html",
        status=422 if problem else 200,
        **found,
        rules=rules,
        precision=precision,
        similar_words=similar(case["score"]) if case["waterfall"] else None,
        parts_of_score=waterfall([*prior, *[each for each in steps if each["bits"]]]),
        columns=columns_of(days, 72) if days.by_day else None,
        lanes=lanes_of(days) if days.by_day else None,
        rows=rows,
        described=described,
        pauses_words=PAUSES,
        decisions=DECISIONS,
        profiles=MEANS,
        problem=problem and problem.detail,
    )


async def read_case(connection: Connection, case_id: UUID) -> dict[str, Any]:
    """A case and all that belongs to it. Raises NoSuchCase."""
    case = await case_lists.case_by_id(connection, case_id)
    findings = await case_lists.findings_of(connection, case_id)
    seen = {each for row in findings if row["closed_at"] is None for each in row["evidence"]["installations"]}
    return {
        "case": case,
        "findings": findings,
        "installations": sorted(seen),
        "alike": await case_lists.similar_cases(connection, case, seen),
        "merged": await case_lists.merged_into(connection, case_id),
        "pauses": await case_lists.pauses_of(connection, case_id),
        "hold": await case_rows.hold_of(connection, case_id),
        "counts": await case_rows.rows_by_kind(connection, case_id),
        "files": await case_lists.attachments_of(connection, case_id),
        "handovers": await case_lists.handovers_of(connection, case_id),
        "history": await case_lists.history_of(connection, case_id),
    }
