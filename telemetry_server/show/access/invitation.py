"""The page that an invitation leads to: a name and a password. Also for a new password of a person."""

from datetime import UTC, datetime

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, Forbidden
from telemetry_server.routing import HTML, Access, Parameter, Route, get
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.guard import refuse_foreign
from telemetry_server.show.access.notices import announce
from telemetry_server.show.access.passwords import PASSWORDS, WeakPassword, refuse_weak
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import text
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.store.access import people
from telemetry_server.store.access.people import Invitation, PersonExists
from telemetry_server.store.database import answered, translated
from telemetry_server.store.reading import SECONDS

LONGEST_NAME = 200


class Accept(Struct):
    """The form of an invitation."""

    token: str = ""
    password: str = ""
    name: str = ""


async def show_invitation(request: web.Request) -> web.Response:
    """The form; looking at it does not use the link up."""
    token = request.query.get("token", "")
    return _page(request, token, await _open(request, token))


async def accept(request: web.Request) -> web.Response:
    """Makes the account, or sets the password, and goes on to sign-in."""
    refuse_foreign(request)
    form = await read_form_as(request, Accept)
    asked, name = await _open(request, form.token), name_in(form.name)
    try:
        await refuse_weak(form.password, asked.email, asked.email.partition("@")[0], name)
    except WeakPassword as error:
        return _page(request, form.token, asked, problem=error.detail, name=name)
    hashed = await request.app[PASSWORDS].hash(form.password)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        made = await people.accept_invitation(connection, form.token, name, hashed, now=datetime.now(UTC))
    if made is None:
        raise Forbidden(_USED_UP)
    if asked.person_id is not None:
        await announce(request, asked.email, "The password of your account was changed, by a link for that.")
    return see_other("/sign-in")


def name_in(text: str) -> str:
    """The name of a person, which may be empty. Raises BadRequest for one with invisible characters."""
    name = text.strip()[:LONGEST_NAME]
    if not name.isprintable():
        raise BadRequest("Write the name without invisible characters.")
    return name


async def _open(request: web.Request, token: str) -> Invitation:
    pool = request.app[app_keys.POOL]
    found = await answered(people.open_invitation(pool, token, datetime.now(UTC)), SECONDS)
    if found is None:
        raise Forbidden(_USED_UP)
    return found


def _page(
    request: web.Request, token: str, asked: Invitation, *, problem: str | None = None, name: str = ""
) -> web.Response:
    return page(
        request,
        "invitation.html",
        status=400 if problem else 200,
        token=token,
        asked=asked,
        problem=problem,
        name=name,
    )


_USED_UP = "This invitation was used, withdrawn, or has expired. Ask for another one."
_TOKEN = Parameter("token", "The token of the invitation.", text())

ROUTES = (
    get(
        "/invitation",
        show_invitation,
        "The page of an invitation",
        HTML,
        (_TOKEN,),
        access=Access.PUBLIC,
        errors=(Forbidden,),
    ),
    Route(
        "POST",
        "/invitation",
        accept,
        "Accept an invitation",
        Access.PUBLIC,
        page=True,
        body=Accept,
        answers={303: "", 400: HTML},
        errors=(*FORM_ERRORS, PersonExists),
    ),
)
