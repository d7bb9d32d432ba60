"""Intake: pings and fields that were not simply accepted."""

from datetime import UTC, date, datetime

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check import ranges
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, get
from telemetry_server.show import charts
from telemetry_server.show.addresses import shown_to
from telemetry_server.show.filters import chosen_product
from telemetry_server.show.pages.overview import PARAMETERS, unless_slow
from telemetry_server.show.query import read_query
from telemetry_server.show.render import page
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.counts import overview as store
from telemetry_server.store.database import Pool
from telemetry_server.store.fleet import installations

_ROWS = 50


async def intake(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    over = ranges.RANGES[asked["range"]] if "range" in asked else ranges.DEFAULT
    pool, viewer, now = request.app[app_keys.POOL], request[VIEWER], datetime.now(UTC)
    product = chosen_product(asked.get("product"), viewer.products)
    forks = await unless_slow(store.newest_forks(pool, product, over.since(now), _ROWS))
    since = over.since(now)
    return page(
        request,
        "intake.html",
        product=product,
        over=over,
        rows=_ROWS,
        products=[each for each in await installations.product_names(pool) if viewer.sees(each["slug"])],
        ranges=ranges.RANGES.values(),
        outcomes=await unless_slow(_outcomes(pool, product, over, now)),
        forks=None if forks is None else shown_to(viewer, forks),
        quarantined=await unless_slow(store.newest_quarantined(pool, product, _ROWS)),
        most_suspect=store.MOST_SUSPECT,
        suspect=await unless_slow(store.suspect_installations(pool, product, since, _ROWS)),
    )


async def _outcomes(
    pool: Pool, product: str | None, over: ranges.Range, now: datetime
) -> dict[str, charts.Columns]:
    """A small chart of each outcome, by day."""
    days = list(ranges.daily(over).starts(now))
    counted: dict[str, dict[date, int]] = {}
    for row in await store.outcomes(pool, product, days[0].date()):
        counted.setdefault(row["outcome"], {})[row["day"]] = row["count"]
    return {
        outcome: charts.columns(
            [(day, by_day.get(day.date(), 0)) for day in days], ranges.daily(over), height=28
        )
        for outcome, by_day in counted.items()
    }


ROUTES = (
    get(
        "/intake",
        intake,
        "What was not simply accepted",
        HTML,
        PARAMETERS,
        permission=Permission.INSTALLATIONS,
        audited="installation",
    ),
)
