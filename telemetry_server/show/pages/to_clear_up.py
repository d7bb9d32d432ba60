"""What is to be cleared up: one queue of doubts, with their states, in bulk and with undo."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.permissions import Permission
from telemetry_server.routing import FILE, HTML, Parameter, Route, get
from telemetry_server.show.access.forms import read_form, read_form_as
from telemetry_server.show.access.guard import local_path
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.clear_up_words import KIND_WORDS, MARKS, copies_filter, in_evidence
from telemetry_server.show.csv_file import MOST_ROWS, csv_file
from telemetry_server.show.links import link
from telemetry_server.show.query import IDENTIFIER, integer, one_of, read_path, read_query, text
from telemetry_server.show.recorded_views import author, record, record_customers
from telemetry_server.show.registry_forms import reason_of
from telemetry_server.show.render import page
from telemetry_server.show.responses import path_with, see_other, without_empty
from telemetry_server.show.scope import read_scope
from telemetry_server.show.sorting import PAGE, ROWS, pager
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.database import Connection, translated
from telemetry_server.store.fleet import clear_up as store
from telemetry_server.store.fleet.clear_up import ClearUpState
from telemetry_server.store.fleet.clear_up_facts import ClearUpKind, copies_with_key
from telemetry_server.store.reading import reading
from telemetry_server.store.registry.license_lists import customer_names

UNDO_SHOWN = timedelta(seconds=10)
_STATES = {
    "present": store.PRESENT,
    "open": (ClearUpState.OPEN,),
    "asked": (ClearUpState.ASKED,),
    "explained": (ClearUpState.EXPLAINED,),
    "closed": (ClearUpState.CLOSED,),
}
_SORTS = {"worst": "Worst first", "size": "Largest first", "first": "Oldest first", "last": "Last seen first"}
_FILTERS = (
    Parameter("product", "The product's slug.", text()),
    Parameter("kind", "The kind of doubt.", one_of(*ClearUpKind)),
    Parameter(
        "state", "How far people are; present: open or asked.", one_of(*_STATES) | {"default": "present"}
    ),
    Parameter("owner", "me: those that I took over.", one_of("me")),
    Parameter("subject", "The license, key or installation it is about, in any state.", text()),
    Parameter("sort", "The order.", one_of(*store.SORTS) | {"default": "worst"}),
)
PARAMETERS = (
    *_FILTERS,
    PAGE,
    Parameter("undo", "The action that was just carried out.", IDENTIFIER),
    Parameter("changed", "On how many items.", integer(0, store.MOST_AT_ONCE)),
)
_ID = Parameter("clear_up_id", "Its id.", IDENTIFIER, where="path", required=True)
_COPIES = 100
_COLUMNS = (
    *("clear_up_id", "kind", "product", "subject", "license_id", "key_hint", "size", "evidence", "first_at"),
    *("last_at", "state", "explained_until", "owner"),
)


class Action(Struct):
    """What to do with the chosen items, each a field item_ID; `next` is the page to go back to."""

    csrf_token: str
    action: str
    until: str = ""
    reason: str = ""
    next: str = "/to-clear-up"


class Undo(Struct):
    """The action to take back."""

    csrf_token: str
    undo: str
    next: str = "/to-clear-up"


async def queue(request: web.Request) -> web.Response:
    if (shorter := without_empty(request)) is not None:
        return shorter
    asked, viewer, now = read_query(request, PARAMETERS), request[VIEWER], datetime.now(UTC)
    scope = await read_scope(request, asked)
    if scope.product is not None:
        asked["product"] = scope.product
    wanted = _wanted(asked, viewer)
    async with reading(request.app[app_keys.POOL]) as connection:
        rows = await store.items(
            connection,
            wanted,
            sort=asked["sort"],
            limit=ROWS,
            offset=(asked["page"] - 1) * ROWS,
            today=now.date(),
        )
        counts = await store.item_counts(connection, wanted.products, wanted.owner, now.date())
        names = await _names(connection, viewer, rows)
        cases = await _cases(connection, viewer, rows)
    if names:
        await record_customers(request)
    shown = set(map(str, wanted.states))
    kinds = {kind: sum(counts[kind.value, state] for state in shown) for kind in ClearUpKind}
    total = kinds[ClearUpKind(asked["kind"])] if "kind" in asked else sum(kinds.values())
    if "subject" in asked:
        total = len(rows)
    return page(
        request,
        "to_clear_up.html",
        scope=scope,
        asked=asked,
        rows=[_shown(row, names, cases) for row in rows],
        kinds=[(kind, KIND_WORDS[kind], count, _kind_path(request, kind)) for kind, count in kinds.items()],
        everything=(sum(kinds.values()), _kind_path(request, None)),
        states=list(_STATES),
        sorts=_SORTS,
        pages=pager(request, asked, total),
        file=link("/to-clear-up/export", **{each.name: asked.get(each.name) for each in _FILTERS}),
        undo=_undoable(asked, now),
        here=path_with(request, undo=None, changed=None),
    )


async def one_item(request: web.Request) -> web.Response:
    read_query(request, ())
    viewer, now = request[VIEWER], datetime.now(UTC)
    wanted = store.ClearUpFilter(
        products=viewer.products, clear_up_id=read_path(request, "clear_up_id"), states=tuple(ClearUpState)
    )
    async with reading(request.app[app_keys.POOL]) as connection:
        rows = await store.items(connection, wanted, sort="worst", limit=1, today=now.date())
        if not rows:
            raise NotFound("There is nothing to clear up under this id.")
        [row] = rows
        names = await _names(connection, viewer, rows)
        is_key = row["kind"] == ClearUpKind.UNKNOWN_KEY
        copies = await copies_with_key(connection, row["subject"], _COPIES) if is_key else []
        changes = await store.item_changes(connection, row["clear_up_id"])
        cases = await _cases(connection, viewer, rows)
    if names:
        await record(request.app[app_keys.POOL], request, "customer.view", row["customer_id"])
    item = _shown(row, names, cases)
    return page(request, "clear_up_item.html", item=item, copies=copies, changes=changes)


async def item_file(request: web.Request) -> web.Response:
    """All rows of the queue, not only its page."""
    asked, now = read_query(request, _FILTERS), datetime.now(UTC)
    async with reading(request.app[app_keys.POOL]) as connection:
        rows = await store.items(
            connection,
            _wanted(asked, request[VIEWER]),
            sort=asked["sort"],
            limit=MOST_ROWS + 1,
            today=now.date(),
        )
    shown = ({**row, "evidence": in_evidence(row)} for row in rows)
    return await csv_file("to-clear-up", _COLUMNS, shown, now)


async def act(request: web.Request) -> web.Response:
    """Sets the state or the owner of the chosen items."""
    form, now = await read_form(request), datetime.now(UTC)
    asked = await read_form_as(request, Action)
    wanted = _action(asked, request[VIEWER], now.date())
    chosen = [_uuid(name.removeprefix("item_")) for name in form if name.startswith("item_")]
    if not chosen:
        raise BadRequest("Choose at least one row.")
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        change_id, count = await store.change_items(
            connection,
            chosen,
            wanted,
            products=request[VIEWER].products,
            by=author(request, reason_of(form)),
            now=now,
        )
    back = local_path(asked.next)
    sign = "&" if "?" in back else "?"
    return see_other(
        f"{back}{sign}undo={change_id}&changed={count}" if back.partition("?")[0] == "/to-clear-up" else back
    )


async def take_back(request: web.Request) -> web.Response:
    form = await read_form_as(request, Undo)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        by = author(request, None)
        await store.undo(connection, _uuid(form.undo), by=by, now=datetime.now(UTC))
    return see_other(local_path(form.next))


def _action(asked: Action, viewer: Viewer, today: date) -> store.Wanted:
    match asked.action:
        case "open":
            return store.Wanted(ClearUpState.OPEN)
        case "asked":
            return store.Wanted(ClearUpState.ASKED)
        case "explained":
            return store.Wanted(ClearUpState.EXPLAINED, _until(asked.until, today))
        case "take":
            return store.Wanted(owner=viewer.actor)
        case "release":
            return store.Wanted(owner="")
    raise BadRequest("action must be open, asked, explained, take or release.")


def _until(text: str, today: date) -> date:
    try:
        until = date.fromisoformat(text)
    except ValueError:
        raise BadRequest("Say until which day it is explained, such as 2027-01-31.") from None
    if not today <= until <= today + timedelta(days=3_660):
        raise BadRequest("It can be explained until a day within ten years.")
    return until


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest("The form is out of date; load the page again.") from None


def _wanted(asked: Mapping[str, Any], viewer: Viewer) -> store.ClearUpFilter:
    if "product" in asked and not viewer.sees(asked["product"]):
        raise NotFound("There is no product of this name.")
    return store.ClearUpFilter(
        products={asked["product"]} if "product" in asked else viewer.products,
        kind=asked.get("kind"),
        owner=viewer.actor if "owner" in asked else None,
        subject=asked.get("subject"),
        states=tuple(ClearUpState) if "subject" in asked else _STATES[asked["state"]],
    )


async def _names(connection: Connection, viewer: Viewer, rows: list[dict[str, Any]]) -> Mapping[UUID, str]:
    """The customers of the rows, for those who may see them."""
    ids = {row["customer_id"] for row in rows if row["customer_id"] is not None}
    return await customer_names(connection, ids) if viewer.may(Permission.CUSTOMERS) else {}


async def _cases(connection: Connection, viewer: Viewer, rows: list[dict[str, Any]]) -> Mapping[UUID, UUID]:
    """The cases of the rows, for those who may see them."""
    return await store.cases_of(connection, rows) if viewer.may(Permission.CASES) else {}


def _shown(row: Mapping[str, Any], names: Mapping[UUID, str], cases: Mapping[UUID, UUID]) -> dict[str, Any]:
    """The item with its words, and the paths to its subject, its copies and its case."""
    copies = copies_filter(row)
    copies_path = copies and link("/installations", product=row["product"], filter=copies)
    subject = f"/licenses/{row['license_id']}" if row["license_id"] else copies_path
    if row["kind"] == ClearUpKind.SHARED_IDENTITY:
        subject = f"/installations/{row['subject']}"
    elif row["kind"] == ClearUpKind.UNKNOWN_KEY:
        subject = f"/to-clear-up/{row['clear_up_id']}"
    return {
        **row,
        "words": KIND_WORDS[row["kind"]],
        "mark": MARKS[row["kind"]],
        "hint": row["key_hint"] or row["evidence"].get("key_hint"),
        "sentence": in_evidence(row),
        "customer": names.get(row["customer_id"]),
        "subject_path": subject,
        "copies_path": copies_path,
        "case_path": f"/cases/{cases[row['clear_up_id']]}" if row["clear_up_id"] in cases else None,
    }


def _kind_path(request: web.Request, kind: str | None) -> str:
    return path_with(request, kind=kind, subject=None, page=None, undo=None, changed=None)


def _undoable(asked: Mapping[str, Any], now: datetime) -> UUID | None:
    """The action that was just carried out, for as long as the page offers to take it back."""
    change_id: UUID | None = asked.get("undo")
    if change_id is None or not asked.get("changed"):
        return None
    made_at = datetime.fromtimestamp((change_id.int >> 80) / 1000, UTC)
    return change_id if timedelta(seconds=-1) <= now - made_at < UNDO_SHOWN else None


ROUTES = (
    Route(
        "GET",
        "/to-clear-up",
        queue,
        "What is to be cleared up",
        permission=Permission.LICENSES,
        page=True,
        audited="clear_up",
        parameters=PARAMETERS,
        answers={200: HTML, 303: ""},
        errors=(NotFound,),
    ),
    get(
        "/to-clear-up/export",
        item_file,
        "What is to be cleared up, as CSV",
        FILE,
        _FILTERS,
        permission=Permission.LICENSES,
        audited="clear_up",
        errors=(NotFound,),
    ),
    get(
        "/to-clear-up/{clear_up_id}",
        one_item,
        "One item to clear up",
        HTML,
        (_ID,),
        permission=Permission.LICENSES,
        audited="clear_up",
        errors=(NotFound,),
    ),
    Route(
        "POST",
        "/to-clear-up",
        act,
        "Set the state of items",
        permission=Permission.CLEAR_UP,
        page=True,
        audited="clear_up",
        body=Action,
        answers={303: ""},
        errors=FORM_ERRORS,
    ),
    Route(
        "POST",
        "/to-clear-up/undo",
        take_back,
        "Take an action back",
        permission=Permission.CLEAR_UP,
        page=True,
        audited="clear_up",
        body=Undo,
        answers={303: ""},
        errors=(*FORM_ERRORS, store.NothingToUndo),
    ),
)
