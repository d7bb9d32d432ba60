"""Share links: numbers without an account. The page that makes, lists and revokes them, and what they show.

A link shows four pages, by their own handlers, for a viewer who may see numbers and nothing else: no
installation, address, key, license or customer. Their links lead to the four pages or nowhere.

Of the query it takes the scope and the choice of lists, and ignores filters: whoever may filter numbers can
ask, one guess at a time, whether there is a customer, an address or a key.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from msgspec import Struct
from yarl import URL

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, Forbidden, NotFound, TooManyRequests
from telemetry_server.model import Role
from telemetry_server.permissions import Permission
from telemetry_server.receive.limiter import Limiter, network_of
from telemetry_server.routing import HTML, Access, Parameter, Route, get
from telemetry_server.show.access.forms import names_in, read_form_as
from telemetry_server.show.access.guard import address_of, local_path
from telemetry_server.show.access.notices import address_to
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.filters import FILTERS
from telemetry_server.show.pages import feature_list, overview, places, release_list
from telemetry_server.show.query import IDENTIFIER, read_path, read_query, text
from telemetry_server.show.recorded_views import record
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.scope import PRODUCT, SHARED_PAGES
from telemetry_server.show.viewer import SHARED, VIEWER, Viewer
from telemetry_server.store.access import share_links as store
from telemetry_server.store.access import trail
from telemetry_server.store.access.people import NoSuchProducts, product_ids
from telemetry_server.store.access.saved_views import LONGEST_ADDRESS
from telemetry_server.store.visible import hiding
from telemetry_server.text import hidden_in

LIMITER = web.AppKey("share_limiter", Limiter)
PAGES_A_MINUTE = 60  # of one link, or wrong ones from one network, in one process

_SHOWN: Mapping[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
    "/": overview.overview,
    "/features": feature_list.feature_list,
    "/releases": release_list.release_list,
    "/map": places.world,
}
_FILTERS = frozenset(one.name for one in FILTERS) - {PRODUCT.name}
_TAKEN: Mapping[str, tuple[Parameter, ...]] = {
    path: tuple(one for one in parameters if one.name not in _FILTERS)
    for path, parameters in (
        ("/", overview.PARAMETERS),
        ("/features", feature_list.PARAMETERS),
        ("/releases", release_list.PARAMETERS),
        ("/map", places.PARAMETERS),
    )
}
"""What a link takes of the query of each page; the rest is ignored."""
_NOT_FOR_MACHINES = {"X-Robots-Tag": "noindex, nofollow"}


class NewLink(Struct):
    """A new link. `opens` is the page, with its query, that it leads to; empty `products`: all."""

    csrf_token: str
    label: str
    days: str
    products: str = ""
    opens: str = "/"


class RevokedLink(Struct):
    """The link to revoke."""

    csrf_token: str


async def show_links(request: web.Request) -> web.Response:
    return await _page(request)


async def make_link(request: web.Request) -> web.Response:
    """Shows the link, once."""
    form, viewer, now = await read_form_as(request, NewLink), request[VIEWER], datetime.now(UTC)
    label, days, opens = _label(form.label), _days(form.days), _opens(form.opens)
    products = await _products(request, form.products)
    async with trail.transaction(request.app[app_keys.POOL]) as connection:
        link_id, secret = await store.create_share_link(
            connection,
            label,
            days,
            person_id=viewer.person.person_id if viewer.person else None,
            products=products,
            by=viewer.actor,
            now=now,
        )
        named = None if products is None else sorted(products)
        await record(
            connection, request, "share_link.create", link_id, label=label, days=days, products=named
        )
    path, sign, query = opens.partition("?")
    made = f"/shared/{secret}{path.rstrip('/')}{sign}{query}"
    return await _page(request, made=address_to(request, made))


async def revoke_link(request: web.Request) -> web.Response:
    viewer, link_id = request[VIEWER], read_path(request, "link_id")
    await read_form_as(request, RevokedLink)
    async with trail.transaction(request.app[app_keys.POOL]) as connection:
        await store.revoke_share_link(
            connection,
            link_id,
            viewer.person.person_id if viewer.person else None,
            of_all=viewer.may(Permission.PEOPLE),
            now=datetime.now(UTC),
        )
        await record(connection, request, "share_link.revoke", link_id)
    return see_other("/links")


async def shared(request: web.Request) -> web.StreamResponse:
    """The page of a link, as someone sees it who may see the numbers of its products only."""
    limiter, secret = request.app[LIMITER], request.match_info["secret"]
    path = "/" + request.match_info.get("page", "")
    link = await store.find_share_link(request.app[app_keys.POOL], secret, datetime.now(UTC))
    limiter.admit(link.link_id if link else network_of(address_of(request)))
    if link is None or path not in _SHOWN:
        raise NotFound("This link has expired or was revoked. Ask the person who sent it for a new one.")
    address = _taken(path, request.rel_url.raw_query_string)
    asked = request.clone(rel_url=URL(address, encoded=True))
    asked[VIEWER] = Viewer(
        Role.VIEWER, None, "share link", permissions=frozenset({Permission.NUMBERS}), products=link.products
    )
    asked[SHARED] = f"/shared/{secret}"
    with hiding():
        answer = await _SHOWN[path](asked)
    answer.headers.update(_NOT_FOR_MACHINES)
    return answer


async def _page(request: web.Request, made: str | None = None) -> web.Response:
    viewer, now = request[VIEWER], datetime.now(UTC)
    asked = read_query(request, _PARAMETERS) if request.method != "POST" else {}
    links = await store.list_share_links(
        request.app[app_keys.POOL],
        viewer.person.person_id if viewer.person else None,
        of_all=viewer.may(Permission.PEOPLE),
    )
    return page(
        request,
        "share_links.html",
        links=[one for one in links if one.revoked_at is None and one.expires_at > now],
        ended=[one for one in links if one.revoked_at is not None or one.expires_at <= now],
        made=made,
        opens=_opens(asked.get("opens", "/")),
        products=sorted(viewer.products or ()),
        most_days=store.MOST_DAYS,
    )


async def _products(request: web.Request, named: str) -> frozenset[str] | None:
    """The products that the form names, else those of the maker. Raises Forbidden or NoSuchProducts."""
    viewer, slugs = request[VIEWER], names_in(named)
    if slugs is None:
        return viewer.products
    if not all(map(viewer.sees, slugs)):
        raise Forbidden("You can only share products that you may see.")
    await product_ids(request.app[app_keys.POOL], slugs)
    return frozenset(slugs)


def _label(text: str) -> str:
    label = text.strip()
    if not label or len(label) > store.LONGEST_LABEL or hidden_in(label):
        raise BadRequest(f"Write whom the link is for, in at most {store.LONGEST_LABEL} characters.")
    return label


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= store.MOST_DAYS:
        raise BadRequest(f"A link is valid for 1 to {store.MOST_DAYS} days.")
    return int(text)


def _opens(address: str) -> str:
    """A page that links show, with what they take of its query; the overview for any other."""
    path, _, query = address.partition("?")
    return _taken(path, query) if local_path(address) == address and path in _SHOWN else "/"


def _taken(path: str, query: str) -> str:
    """The page with what links take of its query."""
    names = {one.name for one in _TAKEN[path]}
    kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name in names]
    return f"{path}?{urlencode(kept)}" if kept else path


assert _SHOWN.keys() == _TAKEN.keys() == SHARED_PAGES
_PARAMETERS = (
    Parameter("opens", "The page that the new link opens.", text() | {"maxLength": LONGEST_ADDRESS}),
)
_ID = Parameter("link_id", "Its id.", IDENTIFIER, where="path", required=True)
_SECRET = Parameter("secret", "The secret of the link.", text(), where="path", required=True)
_NAME = Parameter("page", "The page.", {"type": "string"}, where="path", required=True)
_OF_PAGES = tuple({one.name: one for taken in _TAKEN.values() for one in taken}.values())

ROUTES = (
    get(
        "/links",
        show_links,
        "Share links",
        HTML,
        _PARAMETERS,
        permission=Permission.SHARE,
        audited="share_link",
    ),
    Route(
        "POST",
        "/links",
        make_link,
        "Make a share link",
        permission=Permission.SHARE,
        page=True,
        audited="share_link",
        body=NewLink,
        answers={200: HTML},
        errors=(*FORM_ERRORS, NoSuchProducts),
    ),
    Route(
        "POST",
        "/links/{link_id}",
        revoke_link,
        "Revoke a share link",
        permission=Permission.SHARE,
        page=True,
        audited="share_link",
        parameters=(_ID,),
        body=RevokedLink,
        answers={303: ""},
        errors=(*FORM_ERRORS, store.NoSuchShareLink),
    ),
    get(
        "/shared/{secret}",
        shared,
        "The overview, by a share link",
        HTML,
        (_SECRET, *_TAKEN["/"]),
        access=Access.PUBLIC,
        errors=(NotFound, TooManyRequests),
    ),
    get(
        "/shared/{secret}/{page}",
        shared,
        "Another page, by a share link: features, releases or map",
        HTML,
        (_SECRET, _NAME, *_OF_PAGES),
        access=Access.PUBLIC,
        errors=(NotFound, TooManyRequests),
    ),
)
