"""The guard of all routes: who asks, and whether the route's permission is held."""

import hmac
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from telemetry_server import app_keys
from telemetry_server.errors import Forbidden, TelemetryError, Unauthenticated
from telemetry_server.permissions import IN_A_BROWSER_ONLY, OF_ALL_PRODUCTS, Permission, permissions_of
from telemetry_server.receive.address import client_address
from telemetry_server.routing import Access, Route
from telemetry_server.settings import Settings
from telemetry_server.show.access.forms import read_form
from telemetry_server.show.access.proxy import METHOD, email_from_proxy
from telemetry_server.show.formatting import preferring
from telemetry_server.show.recorded_views import record_view
from telemetry_server.show.render import error_page
from telemetry_server.show.responses import see_other
from telemetry_server.show.saved_views import load_views
from telemetry_server.show.time_zone import zone_of
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.access.credentials import TokenHolder, find_token
from telemetry_server.store.access.sessions import Session, find_session
from telemetry_server.store.database import answered
from telemetry_server.store.reading import SECONDS
from telemetry_server.store.visible import hiding

RECENT = timedelta(minutes=10)
"""How long after giving its credentials a browser may do what a route with `step_up` does."""


class NotRecent(Forbidden):
    """Confirm that it is you: sign in again, and repeat this within ten minutes."""

    code = "sign_in_again"


def guard(route: Route) -> Handler:
    """The route's handler behind the check that its `access` asks for; the handler finds request[VIEWER].

    Raises Unauthenticated or Forbidden. A page redirects to the sign-in page instead, and shows errors as
    pages. A route for people without a permission cannot be guarded: ValueError.
    """
    if (route.access is Access.PERSON) != (route.permission is not None):
        raise ValueError(f"{route.method} {route.path}: routes for people, and only these, name a permission")
    handler: Handler = route.handler if route.permission is None else _for_people(route, route.permission)
    return _with_error_pages(handler) if route.page else handler


def _for_people(route: Route, permission: Permission) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        viewer = await find_viewer(request)
        if viewer is None:
            if route.page and _token_of(request) is None:
                return see_other(_sign_in_path(request))
            raise Unauthenticated("Sign in, or send an API token: Authorization: Bearer tlm_…")
        if permission not in viewer.permissions:
            raise Forbidden(f"This needs the permission {permission}; {_lacking(viewer, permission)}")
        request[VIEWER] = viewer
        if route.audited and request.method in {"GET", "HEAD"}:
            await record_view(request, route, route.audited)
        if request.method not in {"GET", "HEAD"} and viewer.session is not None:
            await _refuse_forgery(request, viewer, route)
        try:
            with hiding(Permission.PRIVACY not in viewer.permissions):
                if viewer.person is None:
                    return await _answer(route, request, viewer)
                with preferring(zone_of(request).key, viewer.person.number_style):
                    return await _answer(route, request, viewer)
        except NotRecent:
            if not route.page and request.headers.get("Sec-Fetch-Mode") != "navigate":
                raise  # a script's request; a person who follows a link to a file sees a page
            return see_other(f"/sign-in/again?next={quote(_page_of(request), safe='/')}")

    return guarded


async def _answer(route: Route, request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """The answer of the handler. A form that shows a page, as the difference it would make, is a view.

    Raises NotRecent.
    """
    if route.step_up and not is_recent(viewer):
        raise NotRecent
    if route.page:
        await load_views(request)
    answer: web.StreamResponse = await route.handler(request)
    if route.audited and route.page and request.method == "POST" and answer.status != HTTPStatus.SEE_OTHER:
        await record_view(request, route, route.audited)
    return answer


def _with_error_pages(handler: Handler) -> Handler:
    async def with_pages(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except TelemetryError as error:
            return error_page(request, error)

    return with_pages


def is_recent(viewer: Viewer) -> bool:
    """Whether a browser gave its credentials within RECENT. Tokens are credentials: always."""
    if viewer.authenticated_at is None:
        return True
    return abs(datetime.now(UTC) - viewer.authenticated_at) <= RECENT


def _lacking(viewer: Viewer, permission: Permission) -> str:
    if viewer.products is not None and permission in OF_ALL_PRODUCTS:
        return "you are limited to some products."
    if viewer.token_id is not None:
        return f"your token has the role {viewer.role}, and perhaps fewer scopes."
    return f"you have the role {viewer.role}. An administrator can change that."


# ── who asks ────────────────────────────────────────────────────────────────────────────────


async def find_viewer(request: web.Request) -> Viewer | None:
    """The sender, by token, else by session; None: neither. Raises Unavailable within SECONDS."""
    pool, now = request.app[app_keys.POOL], datetime.now(UTC)
    token = _token_of(request)
    if token is not None:
        holder = await answered(find_token(pool, token, now, address_of(request)), SECONDS)
        return holder and _program(holder)
    secret = request.cookies.get(cookie_name(request.app[app_keys.SETTINGS]))
    found = await answered(find_session(pool, secret, now), SECONDS) if secret else None
    if found is None or secret is None or found.awaits_code or not _is_whom_the_proxy_names(request, found):
        return None
    return _browser(secret, found)


def _is_whom_the_proxy_names(request: web.Request, found: Session) -> bool:
    """A session that a proxy began counts only behind it; where one names another person, no session does."""
    named, person = email_from_proxy(request), found.person
    if METHOD in found.methods or (named is not None and person is not None):
        return person is not None and named == person.email
    return True


def _program(holder: TokenHolder) -> Viewer:
    held = permissions_of(
        holder.role,
        person=holder.person is not None,
        scopes=holder.scopes,
        limited=holder.products is not None,
    )
    return Viewer(
        holder.role,
        None,
        holder.label,
        holder.token_id,
        held - IN_A_BROWSER_ONLY,
        holder.products,
        holder.person,
    )


def _browser(secret: str, found: Session) -> Viewer:
    return Viewer(
        found.role,
        secret,
        permissions=permissions_of(
            found.role, person=found.person is not None, limited=found.products is not None
        ),
        products=found.products,
        person=found.person,
        authenticated_at=found.authenticated_at,
        methods=found.methods,
    )


def _token_of(request: web.Request) -> str | None:
    """The bearer token. Other schemes are left to a proxy in front of this server, such as Basic."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def address_of(request: web.Request) -> str | None:
    """The address of the client, as far as configured proxies say it."""
    forwarded = request.headers.getall("X-Forwarded-For", ())
    return client_address(request.remote, forwarded, request.app[app_keys.SETTINGS].trusted_proxies)


def cookie_name(settings: Settings, name: str = "session") -> str:
    """The name of a cookie; browsers accept the prefix __Host- only over HTTPS, from this host."""
    return f"__Host-{name}" if is_https(settings) else name


def is_https(settings: Settings) -> bool:
    return settings.base_url.startswith("https://")


# ── forged requests ─────────────────────────────────────────────────────────────────────────


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
    form = await read_form(request, files=route.files, largest=route.largest_form)
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


def _page_of(request: web.Request) -> str:
    """The page to go on with: this one, or the one with the form that was sent."""
    if request.method == "GET":
        return request.path_qs
    return local_path(urlsplit(request.headers.get("Referer", "/")).path or "/")
