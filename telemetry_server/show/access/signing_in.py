"""What all ways of signing in share: the second factor after the first one, the entry in the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.receive.limiter import network_of
from telemetry_server.show.access.cookies import begin_session, flow_browser
from telemetry_server.show.access.guard import address_of, cookie_name
from telemetry_server.show.access.refusals import SignInRefused, Why
from telemetry_server.show.recorded_views import network
from telemetry_server.store.access import flows, people, throttle, trail
from telemetry_server.store.access.flows import Flow, Purpose
from telemetry_server.store.access.people import Account
from telemetry_server.store.access.sessions import find_session
from telemetry_server.store.access.throttle import Bucket
from telemetry_server.store.database import answered
from telemetry_server.store.reading import SECONDS


@dataclass(frozen=True, slots=True)
class Awaiting:
    """An account whose first factor this browser gave, how, and whose second one is awaited."""

    account: Account
    methods: tuple[str, ...]


async def first_factor(
    request: web.Request,
    account: Account,
    onward: str,
    methods: Sequence[str],
    *,
    authenticated_at: datetime | None = None,
) -> web.Response:
    """Signs in, or goes on to the second factor where the account has one."""
    if not account.has_second_factor:
        return await signed_in(request, account, onward, methods, authenticated_at=authenticated_at)
    return await begin_session(
        request,
        f"/sign-in/code?next={quote(onward, safe='/')}",
        account.role,
        methods,
        person_id=account.person_id,
        awaits_code=True,
    )


async def signed_in(
    request: web.Request,
    account: Account,
    onward: str,
    methods: Sequence[str],
    *,
    authenticated_at: datetime | None = None,
) -> web.Response:
    """A session of the person; the audit log has its entry before."""
    await trail.record(
        request.app[app_keys.POOL],
        "person.sign_in",
        by=f"person:{account.email}",
        subject_id=account.person_id,
        network=network(request),
        methods=list(methods),
    )
    return await begin_session(
        request,
        onward,
        account.role,
        methods,
        person_id=account.person_id,
        authenticated_at=authenticated_at,
    )


async def awaiting(request: web.Request) -> Awaiting | None:
    """Whose second factor is awaited of this browser."""
    pool = request.app[app_keys.POOL]
    secret = request.cookies.get(cookie_name(request.app[app_keys.SETTINGS]))
    found = await answered(find_session(pool, secret, datetime.now(UTC)), SECONDS) if secret else None
    if found is None or not found.awaits_code or found.person is None:
        return None
    account = await people.account_of(pool, found.person.person_id)
    return None if account is None else Awaiting(account, found.methods)


# ── ways that leave this server, and come back ──────────────────────────────────────────────


async def begin_flow(
    request: web.Request,
    purpose: Purpose,
    *,
    provider: str | None = None,
    session: str | None = None,
    onward: str = "/",
) -> tuple[str, str]:
    """The state of a new flow, and the secret of its browser for the cookie. Raises TooManyRequests."""
    pool, now, browser = request.app[app_keys.POOL], datetime.now(UTC), flow_browser(request)
    await throttle.admit(pool, [Bucket(throttle.OF_FLOWS, str(network_of(address_of(request))))], now)
    state = await flows.begin(pool, purpose, browser, now, provider=provider, session=session, onward=onward)
    return state, browser


async def end_flow(
    request: web.Request, state: str, purposes: Sequence[Purpose], session: str | None
) -> Flow:
    """The flow, which works once, for the browser and the session that began it. Raises SignInRefused."""
    flow = await flows.take(request.app[app_keys.POOL], state, flow_browser(request), datetime.now(UTC))
    if flow is None or flow.purpose not in purposes:
        raise SignInRefused(Why.UNKNOWN_STATE)
    if not flow.of_this_browser:
        raise SignInRefused(Why.ANOTHER_BROWSER)
    if not flow.belongs_to(session):
        raise SignInRefused(Why.ANOTHER_SESSION)
    return flow


async def record_refusal(
    request: web.Request, how: str, refused: SignInRefused, provider: str | None = None
) -> None:
    """Writes down that, and why, a sign-in was refused. Raises Unavailable.

    Raises TooManyRequests, and writes nothing, if the network, or all together, are refused too often: the
    log grows for years.
    """
    pool, now = request.app[app_keys.POOL], datetime.now(UTC)
    of_network = Bucket(throttle.OF_REFUSALS, str(network_of(address_of(request))))
    await throttle.admit(pool, [of_network, Bucket(throttle.OF_ALL_REFUSALS, "all")], now)
    details = {"reason": refused.why.value, "cause": refused.cause, "subject": refused.subject}
    await trail.refused(
        pool,
        how,
        email=refused.email,
        network=network(request),
        provider=provider,
        **{name: value for name, value in details.items() if value},
    )
