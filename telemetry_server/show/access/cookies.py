"""The cookies of a sign-in: that of the session, and the mark of a browser that signed in before."""

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.model import Role
from telemetry_server.show.access.guard import address_of, cookie_name, is_https
from telemetry_server.show.responses import see_other
from telemetry_server.store.access.credentials import new_secret
from telemetry_server.store.access.flows import WITHIN
from telemetry_server.store.access.sessions import Origin, create_session, delete_session

_KNOWN_DAYS = 400
_KNOWN = "known_browser"
_FLOW = "sign_in"


async def begin_session(
    request: web.Request,
    onward: str,
    role: Role,
    methods: Sequence[str],
    *,
    person_id: UUID | None = None,
    awaits_code: bool = False,
    authenticated_at: datetime | None = None,
) -> web.Response:
    """Redirects to `onward` with a new session, and ends the previous one of the browser.

    With `awaits_code` the session signs no one in, until another one replaces it. `authenticated_at`: when
    the credentials were given, if not just now.
    """
    pool, settings, now = request.app[app_keys.POOL], request.app[app_keys.SETTINGS], datetime.now(UTC)
    lifetime = timedelta(hours=settings.session_hours)
    device = request.headers.get("User-Agent", "").encode("utf-8", "replace").decode()
    origin = Origin(methods, device, address_of(request), authenticated_at)
    secret = await create_session(
        pool, role, now, now + lifetime, origin, person_id=person_id, awaits_code=awaits_code
    )
    if old := request.cookies.get(cookie_name(settings)):
        await delete_session(pool, old)
    answer = see_other(onward)
    _set(request, answer, "session", secret, lifetime)
    if person_id is not None and not awaits_code:
        mark = request.app[app_keys.KEYRING].known_browser(person_id)
        _set(request, answer, _KNOWN, mark, timedelta(days=_KNOWN_DAYS))
    return answer


def is_known_browser(request: web.Request, person_id: UUID) -> bool:
    """Whether the browser signed in as this person before."""
    mark = request.cookies.get(cookie_name(request.app[app_keys.SETTINGS], _KNOWN), "")
    return hmac.compare_digest(
        mark.encode("utf-8", "replace"), request.app[app_keys.KEYRING].known_browser(person_id).encode()
    )


def flow_browser(request: web.Request) -> str:
    """The secret of the cookie that a flow's answer has to come with; a new one, if the browser has none."""
    found = request.cookies.get(cookie_name(request.app[app_keys.SETTINGS], _FLOW), "")
    return found if len(found) == len(new_secret()) and found.isascii() else new_secret()


def set_flow_cookie(request: web.Request, answer: web.Response, browser: str) -> None:
    _set(request, answer, _FLOW, browser, WITHIN)


def end_session_cookie(request: web.Request, answer: web.Response) -> None:
    settings = request.app[app_keys.SETTINGS]
    answer.del_cookie(
        cookie_name(settings), path="/", secure=is_https(settings), httponly=True, samesite="Lax"
    )


def _set(request: web.Request, answer: web.Response, name: str, value: str, lifetime: timedelta) -> None:
    settings = request.app[app_keys.SETTINGS]
    answer.set_cookie(
        cookie_name(settings, name),
        value,
        max_age=int(lifetime.total_seconds()),
        path="/",
        secure=is_https(settings),
        httponly=True,
        samesite="Lax",
    )
