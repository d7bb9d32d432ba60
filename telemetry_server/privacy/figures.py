"""The public figures: the weekly release, and the page, the badge and the JSON that show it."""

from datetime import date, datetime
from html import escape
from pathlib import Path

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import NotFound
from telemetry_server.privacy import public_cells
from telemetry_server.privacy.public_cells import DIMENSIONS, DRAWN_EVERY, Figure
from telemetry_server.privacy.store import public_figures
from telemetry_server.routing import HTML, Access, get
from telemetry_server.show.query import read_query
from telemetry_server.show.render import page
from telemetry_server.show.responses import json_response
from telemetry_server.store.access.keyring_check import keyring_of
from telemetry_server.store.database import Connection, translated
from telemetry_server.store.job_log import Run

_NARROW = "fijlrt.,:'1I "


class PublicFigure(Struct):
    """A number of customers: at least 20, with a noise of at most 3, rounded to 5."""

    dimension: str
    value: str
    customers: int
    drawn_on: date


class PublicFigures(Struct):
    """A release; the numbers were drawn in its week, or in one of the weeks before."""

    released_on: date | None
    figures: list[PublicFigure]


def release_public_figures(keyring: Path) -> Run:
    """Releases the figures of this week, once."""

    async def run(connection: Connection, now: datetime) -> str:
        week = public_cells.week_of(now.date())
        before, figures = await public_figures.newest(connection)
        if before is not None and before >= week:
            return f"the figures of {before} are released"
        key, owner_of = (
            (await keyring_of(connection, keyring)).figures_key,
            await public_figures.owners(connection),
        )
        released: list[Figure] = []
        for dimension in DIMENSIONS:
            cells = await public_figures.customers_by_value(connection, dimension, owner_of)
            old = {each.value: each for each in figures if each.dimension == dimension}
            released += public_cells.release(key, dimension, cells, old, week, first=before is None)
        await public_figures.keep(connection, week, released)
        return f"released {len(released)} figures"

    return run


async def public_page(request: web.Request) -> web.Response:
    """The newest release."""
    week, figures = await _released(request)
    tables = [
        (title, [each for each in figures if each.dimension == name])
        for name, title in DIMENSIONS.items()
        if name != "total"
    ]
    total = next((each.customers for each in figures if each.dimension == "total"), None)
    return page(
        request,
        "privacy/figures.html",
        week=week,
        total=total,
        tables=[(title, rows, rows[0].customers) for title, rows in tables if rows],
        every=DRAWN_EVERY,
    )


async def as_json(request: web.Request) -> web.Response:
    """The newest release, for programs."""
    week, figures = await _released(request)
    shown = [PublicFigure(each.dimension, each.value, each.customers, each.drawn_on) for each in figures]
    return json_response(PublicFigures(week, shown))


async def badge(request: web.Request) -> web.Response:
    """The number of customers as a picture."""
    _, figures = await _released(request)
    total = next((f"{each.customers:,}" for each in figures if each.dimension == "total"), "fewer than 20")
    return web.Response(
        text=_badge("customers", total),
        content_type="image/svg+xml",
        headers={"Cache-Control": "public, max-age=3600"},
    )


async def _released(request: web.Request) -> tuple[date | None, list[Figure]]:
    """The newest release. Raises NotFound where the operator has not switched it on."""
    read_query(request, ())
    if not request.app[app_keys.SETTINGS].public_figures:
        raise NotFound
    async with translated():
        return await public_figures.newest(request.app[app_keys.POOL])


def _badge(name: str, value: str) -> str:
    left, right = (10 + sum(4 if c in _NARROW else 7 for c in text) for text in (name, value))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{escape(name)}: {escape(value)}"><rect width="{left + right}" height="20" rx="3" '
        f'fill="#3b4252"/><path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" '
        'fill="#2f6fde"/>'
        '<g fill="#fff" font-family="Verdana,Geneva,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{left / 2:g}" y="14">{escape(name)}</text>'
        f'<text x="{left + right / 2:g}" y="14">{escape(value)}</text></g></svg>'
    )


ROUTES = (
    get(
        "/public",
        public_page,
        "Public figures: numbers of customers",
        HTML,
        access=Access.PUBLIC,
        errors=(NotFound,),
    ),
    get(
        "/public/badge.svg",
        badge,
        "The number of customers as a picture",
        "image/svg+xml",
        access=Access.PUBLIC,
        errors=(NotFound,),
    ),
    get(
        "/api/v1/public-figures",
        as_json,
        "List the public figures",
        PublicFigures,
        access=Access.PUBLIC,
        errors=(NotFound,),
    ),
)
