"""Releases: their adoption, versions that are no longer supported, and unknown builds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.terms import Filter, term
from telemetry_server.check.searching import as_term
from telemetry_server.errors import NotFound
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, get
from telemetry_server.show.adoption import adoption, days_to_half
from telemetry_server.show.charts_time import Around, TimeChart
from telemetry_server.show.query import read_query
from telemetry_server.show.render import page
from telemetry_server.show.scope import LONGEST_DAYS, SCOPE, Scope, read_scope
from telemetry_server.show.slow import unless_slow
from telemetry_server.store.counts.active import active_series
from telemetry_server.store.counts.counting import Span, TimeStep
from telemetry_server.store.database import Pool
from telemetry_server.store.fleet.release_use import Row, VersionUse, foreign_builds, versions_in_use
from telemetry_server.store.reading import reading
from telemetry_server.store.registry.products import product_by_slug
from telemetry_server.store.registry.releases import releases_of

PARAMETERS = SCOPE
_VERSIONS, _RELEASES = 12, 200


async def release_list(request: web.Request) -> web.Response:
    """The releases of one product: of the one asked for, or of the first."""
    asked, pool = read_query(request, PARAMETERS), request.app[app_keys.POOL]
    scope = await read_scope(request, asked)
    names = {each["slug"]: each["name"] for each in scope.products}
    slug = scope.product or min(names, default=None)
    if slug is not None and slug not in names:
        raise NotFound("There is no product of this name.")
    others = [(name, scope.here(product=each), each == slug) for each, name in sorted(names.items())]
    instead_of_all = scope.product is None and len(names) > 1
    scope = replace(scope, product=slug)  # the bar names what is shown
    today = datetime.now(UTC).date()
    versions = await unless_slow(_versions(pool, slug)) if slug else []
    reporting = sum(each.copies for each in versions or ())
    return page(
        request,
        "releases.html",
        scope=scope,
        scope_time=True,
        others=others if instead_of_all else [],
        chart=await unless_slow(_chart(pool, scope, slug)) if slug else None,
        half=await unless_slow(_half(pool, scope, slug)) if slug else None,
        product=slug,
        product_name=names.get(slug),
        versions=versions,
        reporting=reporting,
        unsupported=sum(each.copies for each in versions or () if each.is_unsupported(today)),
        unreleased=sum(
            each.copies for each in versions or () if each.release is None and each.version != "unknown"
        ),
        builds=await unless_slow(_builds(pool, slug)) if slug else [],
        today=today,
        rows=lambda version: scope.link(
            "/installations", product=slug, filter=f"{as_term('version', version)} life!=lost"
        ),
    )


async def _chart(pool: Pool, scope: Scope, slug: str) -> TimeChart | None:
    """The adoption in the time of the page; None: not counted yet."""
    span = Span(scope.days.first, scope.days.last, scope.step)
    counts = await active_series(pool, "version", _of(slug), span, now=scope.now, values=_VERSIONS)
    if not counts.rows:
        return None
    async with reading(pool) as connection:
        known = await releases_of(connection, await product_by_slug(connection, slug))
    return adoption(counts.rows, scope.steps, known, Around(zone=scope.zone, unit="copies"))


async def _half(pool: Pool, scope: Scope, slug: str) -> dict[str, int]:
    """By release, the days until half of the copies had it or a later one."""
    last = scope.now.date()
    span = Span(last - timedelta(days=LONGEST_DAYS), last, TimeStep.DAY)
    counts = await active_series(pool, "version", _of(slug), span, now=scope.now, values=_RELEASES)
    async with reading(pool) as connection:
        known = await releases_of(connection, await product_by_slug(connection, slug))
    return days_to_half(known, counts.rows or ())


def _of(slug: str) -> Filter:
    return term(INSTALLATIONS["product"], "=", slug)


async def _versions(pool: Pool, slug: str) -> list[VersionUse]:
    async with reading(pool) as connection:
        product = await product_by_slug(connection, slug)
        return await versions_in_use(connection, product.id, await releases_of(connection, product))


async def _builds(pool: Pool, slug: str) -> list[Row]:
    async with reading(pool) as connection:
        product = await product_by_slug(connection, slug)
        return await foreign_builds(connection, product.id, await releases_of(connection, product))


ROUTES = (
    get(
        "/releases",
        release_list,
        "Releases and their adoption",
        HTML,
        PARAMETERS,
        permission=Permission.NUMBERS,
        errors=(NotFound,),
    ),
)
