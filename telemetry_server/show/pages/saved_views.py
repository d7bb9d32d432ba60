"""The page "Saved views": a page with its query under a name, for its person or for everyone."""

from datetime import UTC, datetime
from enum import StrEnum

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, Route, get
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.guard import local_path
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import IDENTIFIER, read_path
from telemetry_server.show.recorded_views import record
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.saved_views import SAVED_VIEWS, is_open_to
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.access import saved_views as store
from telemetry_server.store.access import trail
from telemetry_server.store.access.saved_views import Keeper
from telemetry_server.text import hidden_in


class SeenBy(StrEnum):
    """Who sees a view."""

    ME = "me"
    EVERYONE = "everyone"


class NewView(Struct):
    """A view to save. `address` is the path of a page with its query."""

    csrf_token: str
    name: str
    address: str
    seen_by: SeenBy = SeenBy.ME


class ViewChange(Struct):
    """A new name and new viewers of a view; or its end, with `action=delete`."""

    csrf_token: str
    name: str = ""
    seen_by: SeenBy = SeenBy.ME
    action: str = "save"


async def show_views(request: web.Request) -> web.Response:
    keeper = _keeper(request[VIEWER])
    return page(
        request,
        "saved_views.html",
        views=[(one, one.mine or (one.shared and keeper.all_shared)) for one in request[SAVED_VIEWS]],
    )


async def save(request: web.Request) -> web.Response:
    """Saves the view, and leads back to it."""
    form, viewer = await read_form_as(request, NewView), request[VIEWER]
    name, address = _name(form.name), _address(request, form.address)
    async with trail.transaction(request.app[app_keys.POOL]) as connection:
        view_id = await store.save_view(
            connection,
            name,
            address,
            shared=form.seen_by is SeenBy.EVERYONE,
            keeper=_keeper(viewer),
            by=viewer.actor,
            now=datetime.now(UTC),
        )
        await record(connection, request, "saved_view.create", view_id, address=address, seen_by=form.seen_by)
    return see_other(address)


async def change(request: web.Request) -> web.Response:
    """Renames a view, sets who sees it, or deletes it."""
    form, view_id = await read_form_as(request, ViewChange), read_path(request, "view_id")
    keeper = _keeper(request[VIEWER])
    async with trail.transaction(request.app[app_keys.POOL]) as connection:
        if form.action == "delete":
            await store.delete_view(connection, view_id, keeper)
            await record(connection, request, "saved_view.delete", view_id)
        else:
            shared = form.seen_by is SeenBy.EVERYONE
            await store.change_view(connection, view_id, _name(form.name), shared=shared, keeper=keeper)
            await record(connection, request, "saved_view.change", view_id, seen_by=form.seen_by)
    return see_other("/views")


def _keeper(viewer: Viewer) -> Keeper:
    person_id = viewer.person.person_id if viewer.person else None
    return Keeper(person_id, all_shared=viewer.may(Permission.PEOPLE))


def _name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > store.LONGEST_NAME or hidden_in(name):
        raise BadRequest(f"Give the view a name of at most {store.LONGEST_NAME} characters.")
    return name


def _address(request: web.Request, address: str) -> str:
    """Raises BadRequest unless it is a page that the sender may see."""
    if local_path(address) != address or len(address) > store.LONGEST_ADDRESS:
        raise BadRequest("A view is the address of a page on this server.")
    routes = request.app[app_keys.ROUTES]
    if not is_open_to(request[VIEWER], routes, address):
        raise BadRequest("A view is the address of a page that you may see.")
    return address


_ID = Parameter("view_id", "Its id.", IDENTIFIER, where="path", required=True)

ROUTES = (
    get(
        "/views",
        show_views,
        "Saved views",
        HTML,
        permission=Permission.VIEWS,
        audited="saved_view",
    ),
    Route(
        "POST",
        "/views",
        save,
        "Save a view",
        permission=Permission.VIEWS,
        page=True,
        audited="saved_view",
        body=NewView,
        answers={303: ""},
        errors=FORM_ERRORS,
    ),
    Route(
        "POST",
        "/views/{view_id}",
        change,
        "Change or delete a saved view",
        permission=Permission.VIEWS,
        page=True,
        audited="saved_view",
        parameters=(_ID,),
        body=ViewChange,
        answers={303: ""},
        errors=(*FORM_ERRORS, store.NoSuchView),
    ),
)
