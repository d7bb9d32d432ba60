"""Sign-in by an OpenID provider: the way there, and the way back.

A flow begins with a cookie and a state; PKCE verifier and nonce follow from both. The identity is issuer and
subject. An address that has an account here is never enough: its person links the provider, or an
administrator does.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING
from uuid import UUID

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.errors import Forbidden, NotFound, SettingsError, TooManyRequests, Unavailable
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Access, Parameter, Route
from telemetry_server.settings import Settings
from telemetry_server.show.access import oidc_claims, signing_in
from telemetry_server.show.access.cookies import flow_browser, set_flow_cookie
from telemetry_server.show.access.guard import find_viewer, local_path
from telemetry_server.show.access.notices import announce
from telemetry_server.show.access.oidc_claims import Claims
from telemetry_server.show.access.refusals import SignInRefused, Why
from telemetry_server.show.links import link
from telemetry_server.show.query import text
from telemetry_server.show.recorded_views import record
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.sign_in_providers import Provider, RoleOfGroup, read_providers
from telemetry_server.store.access import identities, people
from telemetry_server.store.access.flows import Flow, Purpose
from telemetry_server.store.access.identities import Identity, IdentityTaken
from telemetry_server.store.access.people import Account, NoSuchProducts, PersonExists

if TYPE_CHECKING:  # an extra
    from telemetry_server.show.access.oidc_client import OidcClient

METHOD = "oidc"
_NEEDED = ("authlib", "httpx2", "joserfc")
_CLOCKS = timedelta(minutes=1)

OIDC: web.AppKey[Mapping[str, "OidcClient"]] = web.AppKey("oidc", Mapping)


def oidc_clients(settings: Settings) -> Mapping[str, "OidcClient"]:
    """The configured providers by name. Raises SettingsError, also where a package is missing."""
    providers = read_providers(settings.sign_in_providers)
    if not providers:
        return {}
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise SettingsError(
            f"TELEMETRY_SIGN_IN_PROVIDERS is set, and {', '.join(missing)} is not installed. "
            'Run: pip install "license-telemetry-server[oidc]"'
        )
    from telemetry_server.show.access.oidc_client import OidcClient  # noqa: PLC0415  an extra

    return {each.name: OidcClient(each, settings.base_url) for each in providers}


def providers_of(request: web.Request) -> list[Provider]:
    """The providers for buttons."""
    return [client.provider for client in request.app[OIDC].values()]


# ── the way there ───────────────────────────────────────────────────────────────────────────


async def begin_sign_in(request: web.Request) -> web.Response:
    """Sends the browser to the provider; from another site, to the sign-in page, which needs a click."""
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return see_other(link("/sign-in", next=local_path(request.query.get("next", "/"))))
    return _see_other(request, *await _leave(request, Purpose.SIGN_IN, None))


async def begin_again(request: web.Request) -> web.Response:
    """Likewise, for credentials that have to be recent: the provider asks for them in any case."""
    return _see_other(request, *await _leave(request, Purpose.AGAIN, request[VIEWER].session))


async def begin_try(request: web.Request) -> web.Response:
    """Likewise, to look at the claims, without signing in."""
    return _see_other(request, *await _leave(request, Purpose.TRY, request[VIEWER].session))


async def begin_link(request: web.Request) -> web.Response:
    """A page that goes on to the provider: by the Content-Security-Policy, a form leads to no other site."""
    url, browser = await _leave(request, Purpose.LINK, request[VIEWER].session)
    answer = page(request, "sign_in_leave.html", url=url, title=_client(request).provider.title)
    answer.headers["Refresh"] = f"0; url={url}"
    set_flow_cookie(request, answer, browser)
    return answer


async def _leave(request: web.Request, purpose: Purpose, session: str | None) -> tuple[str, str]:
    """The address at the provider, and the secret for the cookie."""
    client, onward = _client(request), local_path(request.query.get("next", "/"))
    state, browser = await signing_in.begin_flow(
        request, purpose, provider=client.provider.name, session=session, onward=onward
    )
    try:
        return await client.address(state, browser, ask_again=purpose is Purpose.AGAIN), browser
    except SignInRefused as refused:
        await signing_in.record_refusal(request, METHOD, refused, client.provider.name)
        raise


def _see_other(request: web.Request, url: str, browser: str) -> web.Response:
    answer = see_other(url)
    set_flow_cookie(request, answer, browser)
    return answer


def _client(request: web.Request) -> "OidcClient":
    """Raises NotFound."""
    found = request.app[OIDC].get(request.match_info["provider"])
    if found is None:
        raise NotFound("There is no such provider.")
    return found


# ── the way back ────────────────────────────────────────────────────────────────────────────


async def come_back(request: web.Request) -> web.Response:
    """Ends the flow: signs in, links, or shows what the provider said."""
    client, viewer = _client(request), await find_viewer(request)
    try:
        flow = await _flow(request, client, viewer)
    except SignInRefused as refused:
        await signing_in.record_refusal(request, METHOD, refused, client.provider.name)
        raise
    claims: Claims = {}
    try:
        claims = await _claims(request, client)
        oidc_claims.demand_required(client.provider, claims)
        if flow.purpose is Purpose.TRY:
            return await _shown(request, client, viewer, claims)
        return await _carried_out(request, client, flow, viewer, claims)
    except SignInRefused as refused:
        refused.subject = refused.subject or str(claims.get("sub", ""))
        refused.email = refused.email or str(claims.get("email", ""))[:254]
        await signing_in.record_refusal(request, METHOD, refused, client.provider.name)
        if flow.purpose is Purpose.TRY:
            return await _shown(request, client, viewer, claims, refused)
        raise


async def _flow(request: web.Request, client: "OidcClient", viewer: Viewer | None) -> Flow:
    """The flow of the answer's state. Raises SignInRefused."""
    purposes = (Purpose.SIGN_IN, Purpose.AGAIN, Purpose.LINK, Purpose.TRY)
    session = viewer.session if viewer else None
    flow = await signing_in.end_flow(request, _one(request, "state") or "", purposes, session)
    if flow.provider != client.provider.name:
        raise SignInRefused(Why.ANOTHER_PROVIDER)
    return flow


async def _claims(request: web.Request, client: "OidcClient") -> Claims:
    from telemetry_server.show.access.oidc_client import Answer  # noqa: PLC0415  an extra

    answer = Answer(_one(request, "code"), _one(request, "error"), _one(request, "iss"))
    state = _one(request, "state") or ""
    return await client.claims(answer, state, flow_browser(request), datetime.now(UTC))


def _one(request: web.Request, name: str) -> str | None:
    """The value of a parameter. A repeated one has none: which is meant is unknown."""
    values = request.query.getall(name, [])
    return values[0] if len(values) == 1 else None


async def _carried_out(
    request: web.Request, client: "OidcClient", flow: Flow, viewer: Viewer | None, claims: Claims
) -> web.Response:
    identity, now = oidc_claims.identity_in(client.provider, claims), datetime.now(UTC)
    since = oidc_claims.authenticated_at(client.provider, claims, now)
    if flow.purpose is Purpose.LINK:
        return await _link_identity(request, client.provider, viewer, identity)
    if flow.purpose is Purpose.AGAIN:
        await _demand_again(request, flow, viewer, identity, since)
    account = await _account(request, client.provider, identity, claims)
    await identities.note_use(request.app[app_keys.POOL], identity, now)
    enough = oidc_claims.has_second_factor(client.provider, claims)
    go_on = signing_in.signed_in if enough else signing_in.first_factor
    methods = [f"{METHOD}:{client.provider.name}", *(["mfa"] if enough else [])]
    return await go_on(request, account, flow.onward, methods, authenticated_at=since)


async def _demand_again(
    request: web.Request, flow: Flow, viewer: Viewer | None, identity: Identity, since: datetime
) -> None:
    """Raises SignInRefused unless the person of the session gave the credentials after being asked."""
    if since < flow.created_at - _CLOCKS:
        raise SignInRefused(Why.AUTH_TIME)
    holder = await identities.holder_of(request.app[app_keys.POOL], identity)
    person = viewer.person if viewer else None
    if holder is None or person is None or holder.person_id != person.person_id:
        raise SignInRefused(Why.ANOTHER_PERSON)


async def _account(request: web.Request, provider: Provider, identity: Identity, claims: Claims) -> Account:
    """The account of the identity, with the role of its groups. Raises SignInRefused."""
    pool = request.app[app_keys.POOL]
    holder = await identities.holder_of(pool, identity)
    if holder is not None and not holder.is_active:
        raise SignInRefused(Why.DEACTIVATED)
    try:
        rule = oidc_claims.rule_in(provider, claims)
        if holder is None:
            person_id = await _sign_up(request, provider, identity, claims, rule)
        else:
            person_id = holder.person_id
            await _give_role(request, provider, holder, rule)
    except NoSuchProducts as error:
        raise SignInRefused(Why.NO_SUCH_PRODUCT, error.detail) from None
    except SignInRefused as refused:
        if refused.why is Why.NO_ROLE and holder is not None:  # what the groups gave has ended
            by, now = f"provider:{provider.name}", datetime.now(UTC)
            await people.end_access(pool, holder.person_id, by=by, now=now)
        raise
    account = await people.account_of(pool, person_id)
    if account is None:
        raise SignInRefused(Why.DEACTIVATED)
    return account


async def _sign_up(
    request: web.Request,
    provider: Provider,
    identity: Identity,
    claims: Claims,
    rule: RoleOfGroup | None,
) -> UUID:
    """A new person, where the settings say so and the address has no account. Raises SignInRefused."""
    pool, now = request.app[app_keys.POOL], datetime.now(UTC)
    if identity.email and await people.is_known(pool, identity.email):
        raise SignInRefused(Why.NOT_LINKED)
    if not provider.entry.new_people or rule is None:
        raise SignInRefused(Why.UNKNOWN_PERSON)
    if not identity.email or not oidc_claims.is_verified(provider, claims):
        raise SignInRefused(Why.NO_EMAIL)
    name, by = oidc_claims.name_in(claims), f"provider:{provider.name}"
    try:
        return await identities.sign_up(pool, identity, name, rule.role, rule.products, by=by, now=now)
    except (PersonExists, IdentityTaken):  # at the same moment
        raise SignInRefused(Why.NOT_LINKED) from None


async def _give_role(
    request: web.Request, provider: Provider, holder: identities.Holder, rule: RoleOfGroup | None
) -> None:
    """The role and the products of the groups, if they are others. Raises NoSuchProducts."""
    if rule is None:
        return
    products = None if rule.products is None else frozenset(rule.products)
    held = None if holder.products is None else frozenset(holder.products)
    if (rule.role, products) == (holder.role, held):
        return
    by = f"provider:{provider.name}"
    await people.set_role(request.app[app_keys.POOL], holder.person_id, rule.role, products, by=by)
    await announce(
        request, holder.email, f"Your groups at {provider.title} changed your role or your products."
    )


async def _link_identity(
    request: web.Request, provider: Provider, viewer: Viewer | None, identity: Identity
) -> web.Response:
    """The signed-in person has this identity from now on. Raises SignInRefused."""
    if viewer is None or viewer.person is None:
        raise SignInRefused(Why.ANOTHER_SESSION)
    pool, now = request.app[app_keys.POOL], datetime.now(UTC)
    try:
        await identities.link(pool, identity, viewer.person.person_id, by=viewer.recorded_as, now=now)
    except IdentityTaken:
        raise SignInRefused(Why.IDENTITY_TAKEN) from None
    await announce(request, viewer.person.email, f"Your account signs in by {provider.title} from now on.")
    return see_other("/account#providers")


# ── trying a provider ───────────────────────────────────────────────────────────────────────


async def _shown(
    request: web.Request,
    client: "OidcClient",
    viewer: Viewer | None,
    claims: Claims,
    refused: SignInRefused | None = None,
) -> web.Response:
    """The claims, and what they would give, on a page for who may manage people."""
    if viewer is None or Permission.PEOPLE not in viewer.permissions:
        raise Forbidden
    request[VIEWER] = viewer
    result: RoleOfGroup | None = None
    holder = None
    if refused is None:
        try:
            result = oidc_claims.rule_in(client.provider, claims)
        except SignInRefused as problem:
            refused = problem
        identity = oidc_claims.identity_in(client.provider, claims)
        holder = await identities.holder_of(request.app[app_keys.POOL], identity)
    reason = refused.why.value if refused else None
    await record(request.app[app_keys.POOL], request, "provider.try", client.provider.name, reason=reason)
    return page(
        request,
        "sign_in_try.html",
        provider=client.provider,
        claims=[(name, _in_words(value)) for name, value in sorted(claims.items())],
        refused=refused,
        result=result,
        holder=holder,
    )


def _in_words(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


_PROVIDER = Parameter("provider", "The name of the provider.", text(), where="path", required=True)
_NEXT = Parameter("next", "Where to go afterwards: a path of this server.", text())
_BACK = tuple(
    Parameter(name, meaning, {"type": "string"})
    for name, meaning in (
        ("state", "The state of the flow."),
        ("code", "The authorization code."),
        ("iss", "The issuer (RFC 9207)."),
        ("error", "Why the provider refused."),
    )
)
_ERRORS = (Forbidden, NotFound, TooManyRequests, Unavailable)


def _leaving(
    path: str,
    handler: Callable[[web.Request], Awaitable[web.Response]],
    summary: str,
    permission: Permission | None,
) -> Route:
    return Route(
        "GET",
        path,
        handler,
        summary,
        Access.PUBLIC if permission is None else Access.PERSON,
        permission,
        page=True,
        parameters=(_PROVIDER, _NEXT),
        answers={303: ""},
        errors=_ERRORS,
    )


ROUTES = (
    _leaving("/sign-in/with/{provider}", begin_sign_in, "Sign in by a provider", None),
    Route(
        "GET",
        "/sign-in/with/{provider}/back",
        come_back,
        "The answer of a provider",
        Access.PUBLIC,
        page=True,
        parameters=(_PROVIDER, *_BACK),
        answers={200: HTML, 303: "", 403: HTML},
        errors=_ERRORS,
    ),
    _leaving(
        "/sign-in/again/with/{provider}", begin_again, "Sign in again by a provider", Permission.ACCOUNT
    ),
    _leaving(
        "/people/sign-in/try/{provider}", begin_try, "Try a provider, without signing in", Permission.PEOPLE
    ),
)
