"""Notes at days of the charts: those on the overview, and the forms that add, change and delete them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, Forbidden
from telemetry_server.permissions import Permission
from telemetry_server.routing import Parameter, Route
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.guard import local_path
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import IDENTIFIER, read_path
from telemetry_server.show.recorded_views import record
from telemetry_server.show.responses import see_other
from telemetry_server.show.scope import Scope
from telemetry_server.show.slow import unless_slow
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access import trail
from telemetry_server.store.database import Pool
from telemetry_server.store.registry import chart_notes as store
from telemetry_server.store.registry.chart_notes import ChartNote
from telemetry_server.text import hidden_in


class NewNote(Struct):
    """A note; an empty `product` is about all. `next` is the page to go back to."""

    csrf_token: str
    day: str
    note: str
    product: str = ""
    next: str = "/"


class NoteChange(Struct):
    """Another day and text of a note; or its end, with `action=delete`."""

    csrf_token: str
    day: str = ""
    note: str = ""
    action: str = "save"
    next: str = "/"


async def notes_of(pool: Pool, scope: Scope, viewed: frozenset[str] | None) -> Sequence[ChartNote]:
    """The notes in the time of the page; a share link shows none. `viewed`: the products of the viewer.

    Of one product, also the notes about all, for those who may see all.
    """
    if scope.shared or not scope.is_known:
        return ()
    found = await unless_slow(store.notes_between(pool, scope.days.first, scope.days.last, products=viewed))
    return [one for one in found or () if scope.product is None or one.product in {None, scope.product}]


async def add_note(request: web.Request) -> web.Response:
    form, viewer = await read_form_as(request, NewNote), request[VIEWER]
    day, note, product = _day(form.day), _note(form.note), form.product or None
    if viewer.products is not None and (product is None or not viewer.sees(product)):
        raise Forbidden("You can only write notes about products that you may see.")
    async with trail.transaction(request.app[app_keys.POOL]) as connection:
        note_id = await store.add_chart_note(
            connection, day, note, product, by=viewer.actor, now=datetime.now(UTC)
        )
        await record(connection, request, "chart_note.create", note_id, day=str(day), product=product)
    return see_other(local_path(form.next))


async def change_note(request: web.Request) -> web.Response:
    form, note_id = await read_form_as(request, NoteChange), read_path(request, "note_id")
    products = request[VIEWER].products
    async with trail.transaction(request.app[app_keys.POOL]) as connection:
        if form.action == "delete":
            await store.delete_chart_note(connection, note_id, products=products)
            await record(connection, request, "chart_note.delete", note_id)
        else:
            day, note = _day(form.day), _note(form.note)
            await store.change_chart_note(connection, note_id, day, note, products=products)
            await record(connection, request, "chart_note.change", note_id, day=str(day))
    return see_other(local_path(form.next))


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise BadRequest("Give the day of the note, such as 2026-11-22.") from None
    if not 2000 <= day.year <= 2100:  # noqa: PLR2004  a mistyped year
        raise BadRequest("The day of a note is in this century.")
    return day


def _note(text: str) -> str:
    note = " ".join(text.split())
    if not note or len(note) > store.LONGEST_NOTE or hidden_in(note):
        raise BadRequest(f"Write a note of at most {store.LONGEST_NOTE} characters, no invisible ones.")
    return note


_ID = Parameter("note_id", "Its id.", IDENTIFIER, where="path", required=True)

ROUTES = (
    Route(
        "POST",
        "/notes",
        add_note,
        "Add a note to the charts",
        permission=Permission.VIEWS,
        page=True,
        audited="chart_note",
        body=NewNote,
        answers={303: ""},
        errors=FORM_ERRORS,
    ),
    Route(
        "POST",
        "/notes/{note_id}",
        change_note,
        "Change or delete a note",
        permission=Permission.VIEWS,
        page=True,
        audited="chart_note",
        parameters=(_ID,),
        body=NoteChange,
        answers={303: ""},
        errors=(*FORM_ERRORS, store.NoSuchNote),
    ),
)
