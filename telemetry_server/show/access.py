"""Authentication and authorization: session cookies for browsers, API tokens for programs."""

import hmac
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from telemetry_server import app_keys
from telemetry_server.errors import (
    BadRequest,
    Forbidden,
    Malformed,
    TelemetryError,
    TooLarge,
    Unauthenticated,
)
from telemetry_server.model import Role
from telemetry_server.receive.body import read_body
from telemetry_server.routing import Access, Route
from telemetry_server.settings import Settings
from telemetry_server.show.recorded_views import record_view
from telemetry_server.show.render import error_page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.access.credentials import find_session, find_token
from telemetry_server.store.database import answered
from telemetry_server.store.reading import SECONDS

LARGEST_FORM = 8 * 1024
_RANK = {Role.VIEWER: 0, Role.ADMIN: 1}


def guard(route: Route) -> Handler:
    """The route's handler behind the check that its `access` asks for; the handler finds request[VIEWER].

    Raises Unauthenticated or Forbidden. A page redirects to the sign-in page instead, and shows errors as
    pages.
    """
    handler: Handler = _for_people(route) if route.access is Access.PERSON else route.handler
    return _with_error_pages(handler) if route.page else handler


def _for_people(route: Route) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        viewer = await find_viewer(request)
        if viewer is None:
            if route.page and _token_of(request) is None:
                return see_other(_sign_in_path(request))
            raise Unauthenticated("Sign in, or send an API token: Authorization: Bearer tlm_…")
        if _RANK[viewer.role] < _RANK[route.role]:
            raise Forbidden(f"This needs the role {route.role}; you have {viewer.role}.")
        request[VIEWER] = viewer
        if route.audited and request.method in {"GET", "HEAD"}:
            await record_view(request, route, route.audited)
        if request.method not in {"GET", "HEAD"} and viewer.session is not None:
            await _refuse_forgery(request, viewer, route)
        answer: web.StreamResponse = await route.handler(request)
        return answer

    return guarded


def _with_error_pages(handler: Handler) -> Handler:
    async def with_pages(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except TelemetryError as error:
            return error_page(request, error)

    return with_pages


# ── who asks ────────────────────────────────────────────────────────────────────────────────


async def find_viewer(request: web.Request) -> Viewer | None:
    """The sender, by token, else by session; None: neither. Raises Unavailable within SECONDS."""
    pool, now = request.app[app_keys.POOL], datetime.now(UTC)
    token = _token_of(request)
    if token is not None:
        found = await answered(find_token(pool, token, now), SECONDS)
        return Viewer(found[0], None, found[1], found[2]) if found else None
    secret = request.cookies.get(cookie_name(request.app[app_keys.SETTINGS]))
    role = await answered(find_session(pool, secret, now), SECONDS) if secret else None
    return Viewer(role, secret) if role else None


def _token_of(request: web.Request) -> str | None:
    """The bearer token. Other schemes are left to a proxy in front of this server, such as Basic."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def cookie_name(settings: Settings) -> str:
    """The name of the session cookie; browsers accept the prefix __Host- only over HTTPS, from this host."""
    return "__Host-session" if is_https(settings) else "session"


def is_https(settings: Settings) -> bool:
    return settings.base_url.startswith("https://")


# ── forms ───────────────────────────────────────────────────────────────────────────────────


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form; of a repeated field, the last value. Raises BadRequest or a subclass."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise BadRequest("Send a form: application/x-www-form-urlencoded.")
    body = await read_body(request)
    if len(body) > LARGEST_FORM:
        raise TooLarge(f"A form may take {LARGEST_FORM} bytes.")
    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=20, errors="strict"))
    except ValueError:
        raise Malformed("The form is not URL-encoded UTF-8.") from None


def refuse_foreign(request: web.Request) -> None:
    """Raises Forbidden when another site made the browser send this.

    Browsers send Sec-Fetch-Site over HTTPS and to localhost only; over plain HTTP, Origin is compared.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        foreign = site not in {"same-origin", "none"}
    else:
        own = {request.host, urlsplit(request.app[app_keys.SETTINGS].base_url).netloc}
        foreign = origin is not None and _host_of(origin) not in own
    if foreign:
        raise Forbidden("This form was sent from another site.")


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


async def _refuse_forgery(request: web.Request, viewer: Viewer, route: Route) -> None:
    if not route.page:
        raise Forbidden("A browser's session may only read here; send an API token.")
    refuse_foreign(request)
    form = await read_form(request)
    if not hmac.compare_digest(form.get("csrf_token", "").encode(), viewer.csrf_token.encode()):
        raise Forbidden("This form is out of date; load the page again.")


# ── where to go after signing in ────────────────────────────────────────────────────────────


def local_path(path: str) -> str:
    """`path` if it leads to a page of this server, else "/".

    Browsers read a backslash as a slash and drop tabs and line ends, so these are refused. Two slashes at
    the start would name another host.
    """
    plain = path.isprintable() and path.isascii() and " " not in path and "\\" not in path
    if not plain or not path.startswith("/") or path.startswith("//"):
        return "/"
    parts = urlsplit(path)
    return "/" if parts.scheme or parts.netloc else path


def _sign_in_path(request: web.Request) -> str:
    path = request.path_qs if request.method == "GET" else "/"
    return "/sign-in" if path == "/" else f"/sign-in?next={quote(path, safe='/')}"
