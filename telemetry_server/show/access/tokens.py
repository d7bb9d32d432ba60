"""The page "Service tokens", and what it shares with the tokens of a person."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.check.networks import Network, unmapped
from telemetry_server.errors import BadRequest, Forbidden, NotFound
from telemetry_server.model import Role
from telemetry_server.permissions import IN_A_BROWSER_ONLY, OF_ALL_PRODUCTS, Permission, Permissions
from telemetry_server.routing import HTML, Route, get
from telemetry_server.setting_types import proxies
from telemetry_server.show.access.forms import days_in, names_in, read_form_as
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.recorded_views import record
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.access import trail
from telemetry_server.store.access.credentials import Limits, create_token, list_tokens, revoke_token
from telemetry_server.store.access.people import product_ids

MOST_DAYS, LONGEST_LABEL = 3_650, 180


class NewToken(Struct):
    """A new token. Empty `products` and `networks`: all. `scopes` are permissions, separated by spaces."""

    csrf_token: str
    label: str
    scopes: str
    days: str = "365"
    products: str = ""
    networks: str = ""


class Revoke(Struct):
    """The token to revoke."""

    csrf_token: str
    token_id: UUID


async def show_tokens(request: web.Request) -> web.Response:
    return await _page(request)


async def add_token(request: web.Request) -> web.Response:
    """Shows the token, once. A service never has more permissions than the person who makes its token."""
    form, viewer = await read_form_as(request, NewToken), request[VIEWER]
    token = await make(request, form, viewer, person_id=None)
    return await _page(request, token=token)


async def revoke(request: web.Request) -> web.Response:
    form = await read_form_as(request, Revoke)
    await end(request, form.token_id)
    return see_other("/tokens")


async def end(request: web.Request, token_id: UUID, person_id: UUID | None = None) -> None:
    """Revokes a token; of the person only, if one is given. Raises NotFound."""
    async with trail.transaction(request.app[app_keys.POOL]) as connection:
        if not await revoke_token(connection, token_id, person_id):
            raise NotFound("This token is unknown, or revoked already.")
        await record(connection, request, "token.revoke", token_id)


async def make(request: web.Request, form: NewToken, viewer: Viewer, person_id: UUID | None) -> str:
    """A new token with the limits of the form. Raises BadRequest, Forbidden or NoSuchProducts."""
    pool, now, label = request.app[app_keys.POOL], datetime.now(UTC), form.label.strip()
    if not label or len(label) > LONGEST_LABEL or not label.isprintable():
        raise BadRequest(f"Write what the token is for, in at most {LONGEST_LABEL} characters.")
    days, products = days_in(form.days, MOST_DAYS, "A token"), names_in(form.products)
    if viewer.products is not None and not set(products or [""]) <= viewer.products:
        raise Forbidden("You can only make tokens for products that you may see; name them.")
    scopes = _scopes(form.scopes, viewer, limited=products is not None)
    limits = Limits(person_id, sorted(scopes), await product_ids(pool, products), _networks(form.networks))
    role = viewer.role if person_id is not None else Role.ADMIN
    expires_at, details = now + timedelta(days=days), {"label": label, "scopes": sorted(scopes)}
    async with trail.transaction(pool) as connection:
        token = await create_token(connection, role, label, expires_at, limits, now=now)
        await record(connection, request, "token.create", None, person=person_id, **details)
    return token


def grantable(viewer: Viewer) -> Permissions:
    """The permissions that a token made by this person may have."""
    return viewer.permissions - IN_A_BROWSER_ONLY


def _scopes(text: str, viewer: Viewer, *, limited: bool) -> Permissions:
    known = {each.value: each for each in Permission}
    names = names_in(text) or []
    if not names or not set(names) <= known.keys():
        raise BadRequest(f"Name scopes of: {', '.join(sorted(grantable(viewer)))}.")
    asked = frozenset(known[name] for name in names)
    if beyond := sorted(asked - grantable(viewer)):
        raise Forbidden(f"A token of yours cannot have: {', '.join(beyond)}.")
    if limited and (of_all := sorted(asked & OF_ALL_PRODUCTS)):
        raise BadRequest(f"Not for single products: {', '.join(of_all)}.")
    return asked


def _networks(text: str) -> Sequence[Network] | None:
    try:
        found = proxies(",".join(names_in(text) or []))
    except ValueError as error:
        raise BadRequest(f"Networks: {error}.") from None
    return [unmapped(network) for network in found] or None


async def _page(request: web.Request, *, token: str | None = None) -> web.Response:
    tokens = await list_tokens(request.app[app_keys.POOL])
    return page(
        request,
        "tokens.html",
        tokens=[each for each in tokens if each.revoked_at is None],
        token=token,
        scopes=sorted(grantable(request[VIEWER])),
    )


ROUTES = (
    get("/tokens", show_tokens, "API tokens", HTML, permission=Permission.PEOPLE, audited="token"),
    Route(
        "POST",
        "/tokens",
        add_token,
        "Make a service token",
        permission=Permission.PEOPLE,
        step_up=True,
        page=True,
        audited="token",
        body=NewToken,
        answers={200: HTML},
        errors=FORM_ERRORS,
    ),
    Route(
        "POST",
        "/tokens/revoke",
        revoke,
        "Revoke a token",
        permission=Permission.PEOPLE,
        page=True,
        audited="token",
        body=Revoke,
        answers={303: ""},
        errors=(*FORM_ERRORS, NotFound),
    ),
)
