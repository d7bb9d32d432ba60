"""Sign-in with a one-time link, and sign-out.

The link only shows a page; the button on that page uses the link up. So link previews and scanners do not
use it up.
"""

from datetime import UTC, datetime, timedelta

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, Forbidden, Malformed, TooLarge, Unavailable
from telemetry_server.routing import HTML, Access, Parameter, Route, get
from telemetry_server.show.access import (
    cookie_name,
    find_viewer,
    is_https,
    local_path,
    read_form,
    refuse_foreign,
)
from telemetry_server.show.query import text
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access.credentials import create_session, delete_session, use_sign_in_link
from telemetry_server.store.database import answered
from telemetry_server.store.reading import SECONDS


async def show_sign_in(request: web.Request) -> web.Response:
    """The page with the button, or without a token, with a field for one."""
    query = request.query
    return _sign_in_page(request, query.get("token", ""), local_path(query.get("next", "/")))


async def sign_in(request: web.Request) -> web.Response:
    """Creates a session and ends the previous one of the browser."""
    refuse_foreign(request)
    form = await read_form(request)
    onward, secret = local_path(form.get("next", "/")), _token_in(form.get("token", ""))
    pool, settings, now = request.app[app_keys.POOL], request.app[app_keys.SETTINGS], datetime.now(UTC)
    role = await answered(use_sign_in_link(pool, secret, now), SECONDS)
    if role is None:
        if await find_viewer(request):  # the button was pressed twice
            return see_other(onward)
        return _sign_in_page(request, "", onward, refused=True)
    if old := request.cookies.get(cookie_name(settings)):
        await delete_session(pool, old)
    lifetime = timedelta(hours=settings.session_hours)
    session = await create_session(pool, role, now, now + lifetime)
    answer = see_other(onward)
    answer.set_cookie(
        cookie_name(settings),
        session,
        max_age=int(lifetime.total_seconds()),
        path="/",
        secure=is_https(settings),
        httponly=True,
        samesite="Lax",
    )
    return answer


async def sign_out(request: web.Request) -> web.Response:
    """Ends the session in the browser and in the database."""
    settings = request.app[app_keys.SETTINGS]
    if session := request[VIEWER].session:
        await delete_session(request.app[app_keys.POOL], session)
    answer = see_other("/sign-in")
    answer.del_cookie(
        cookie_name(settings), path="/", secure=is_https(settings), httponly=True, samesite="Lax"
    )
    return answer


def _sign_in_page(request: web.Request, token: str, onward: str, *, refused: bool = False) -> web.Response:
    status = 403 if refused else 200
    return page(request, "sign_in.html", status=status, token=token, onward=onward, refused=refused)


def _token_in(pasted: str) -> str:
    """The token in a pasted token or link."""
    return pasted.strip().rpartition("token=")[2].partition("&")[0]


class SignIn(Struct):
    """The form of the sign-in page."""

    token: str
    next: str | UnsetType = UNSET


class SignOut(Struct):
    """The form of the sign-out button."""

    csrf_token: str | UnsetType = UNSET


_FORM_ERRORS = (BadRequest, Forbidden, Malformed, TooLarge, Unavailable)
_NEXT = Parameter("next", "Where to go afterwards: a path of this server.", text())

_TOKEN = Parameter("token", "The one-time token of a sign-in link.", text())

ROUTES = (
    get("/sign-in", show_sign_in, "The page to sign in", HTML, (_TOKEN, _NEXT), access=Access.PUBLIC),
    Route(
        "POST",
        "/sign-in",
        sign_in,
        "Sign in with a one-time token",
        Access.PUBLIC,
        page=True,
        body=SignIn,
        answers={303: "", 403: HTML},
        errors=_FORM_ERRORS,
    ),
    Route(
        "POST",
        "/sign-out",
        sign_out,
        "Sign out",
        page=True,
        body=SignOut,
        answers={303: ""},
        errors=_FORM_ERRORS,
    ),
)
