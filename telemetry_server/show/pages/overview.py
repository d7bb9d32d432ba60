"""The overview: counts of the fleet, each a link to its rows."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeAlias, TypeVar

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check import ranges
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, get
from telemetry_server.show import charts, formatting
from telemetry_server.show.filters import STATUSES, chosen_product
from telemetry_server.show.query import one_of, read_query, text
from telemetry_server.show.render import attributions, link, page
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.counts import overview as store
from telemetry_server.store.counts.fleet_now import Fleet
from telemetry_server.store.counts.rollups import MOST_BEHIND
from telemetry_server.store.database import Pool
from telemetry_server.store.dimensions import BY_NAME
from telemetry_server.store.fleet import installations
from telemetry_server.store.reading import TooSlow

Answer = TypeVar("Answer")
_Facets: TypeAlias = Mapping[str, Mapping[str | None, int]]

PARAMETERS = (
    Parameter("product", "The product's slug.", text()),
    Parameter("range", "The time to look at.", one_of(*ranges.RANGES)),
)

DISTRIBUTIONS = (
    ("version", "Versions"),
    ("source", "Sources of licenses"),
    ("country", "Countries, approximate"),
    ("os", "Operating systems"),
    ("vm", "Virtualization"),
    ("container", "Containers"),
    ("cloud", "Clouds"),
)
"""Dimension and heading."""

_STATUS = "status"
_BARS = 7


@dataclass(frozen=True, slots=True)
class Look:
    """A count that needs attention, its text and the path to its rows; `more`: `count` is a lower bound."""

    count: int
    what: str
    path: str
    more: bool = False


@dataclass(frozen=True, slots=True)
class Distribution:
    """Installations by the values of a field; `rest`: the number of those with rarer values than the bars.

    `bars` is None if they are not counted.
    """

    title: str
    bars: list[charts.Bar] | None
    whole: int = 0
    rest: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """The query of one overview; `fleet` is None if it is not counted yet."""

    pool: Pool
    product: str | None
    over: ranges.Range
    now: datetime
    fleet: Fleet | None

    @property
    def since(self) -> datetime:
        return self.over.since(self.now)

    @property
    def first_day(self) -> date:
        """The first day of the charts and of daily counts."""
        return self.over.first_step(self.now).date()

    def columns(self, counts: Mapping[datetime, int], until: datetime) -> charts.Columns:
        """The chart of what is counted up to `until`."""
        starts = list(self.over.starts(self.now))
        still_open = {start for start in starts if start + self.over.step > until}
        return charts.columns(
            [(start, counts.get(start, 0)) for start in starts], self.over, still_open=still_open
        )

    def rows(self, path: str = "/installations", **filters: Any) -> str:
        return link(path, product=self.product, **{"seen": self.over.name, **filters})


async def overview(request: web.Request) -> web.Response:
    query = read_query(request, PARAMETERS)
    over = ranges.RANGES[query["range"]] if "range" in query else ranges.DEFAULT
    pool, viewer, now = request.app[app_keys.POOL], request[VIEWER], datetime.now(UTC)
    product = chosen_product(query.get("product"), viewer.products)
    products = [each for each in await installations.product_names(pool) if viewer.sees(each["slug"])]
    if not any(product["in_use"] for product in products):
        endpoint = request.app[app_keys.SETTINGS].base_url
        return page(request, "first_start.html", products=products, endpoint=endpoint)
    asked = _Asked(pool, product, over, now, await store.fleet(pool, product, now))
    totals = await unless_slow(store.totals(pool, asked.fleet, over)) if asked.fleet else None
    shown = [_STATUS, *(name for name, _ in DISTRIBUTIONS)]
    facets = await unless_slow(store.facets(pool, asked.fleet, over, shown)) if asked.fleet else None
    counted = await unless_slow(store.counted(pool, product, asked.first_day))
    return page(
        request,
        "overview.html",
        asked=asked,
        products=products,
        ranges=ranges.RANGES.values(),
        totals=totals,
        pings=await unless_slow(_pings(asked, counted)),
        behind=_behind(asked, counted),
        newcomers=await unless_slow(_newcomers(asked)),
        statuses=_statuses(facets) if facets is not None else None,
        distributions=[_distribution(asked, facets, *one) for one in DISTRIBUTIONS],
        features=await unless_slow(_features(asked)),
        looks=await unless_slow(_looks(asked, totals or {})),
        attributions=attributions(request),
    )


async def unless_slow(question: Awaitable[Answer]) -> Answer | None:
    """The answer; None if it takes too long, so that the rest of the page is shown."""
    try:
        return await question
    except TooSlow:
        return None


def _statuses(facets: _Facets) -> list[tuple[str, int]]:
    """Every license status with its number of installations."""
    counted = facets.get(_STATUS, {})
    return [(status, counted.get(status, 0)) for status in STATUSES]


def _distribution(asked: _Asked, facets: _Facets | None, field: str, title: str) -> Distribution:
    if facets is None:
        return Distribution(title, None)
    counted = facets.get(field, {})
    whole = sum(counted.values())
    parameter = BY_NAME[field].column
    name = formatting.country if field == "country" else formatting.inert
    named = [(value, count) for value, count in counted.items() if value is not None][:_BARS]
    bars = [charts.Bar(name(value), count, asked.rows(**{parameter: value})) for value, count in named]
    return Distribution(title, bars, whole, whole - sum(bar.count for bar in bars))


async def _features(asked: _Asked) -> list[charts.Bar]:
    rows = await store.top_features(asked.pool, asked.product, asked.first_day)
    return [charts.Bar(formatting.inert(row["feature"]), int(row["uses"])) for row in rows]


async def _pings(asked: _Asked, counted: store.CountedUntil | None) -> charts.Columns | None:
    if asked.over.hourly:
        if asked.fleet is None:
            return None
        hours = await store.pings_by_hour(asked.pool, asked.fleet, asked.over.first_step(asked.now))
        return asked.columns(hours, asked.fleet.counted.at)
    if counted is not None and counted.pings_until is None:
        return None
    pings = await store.pings_by_day(asked.pool, asked.product, asked.first_day)
    values = [(start, pings.get(start.date(), 0)) for start in asked.over.starts(asked.now)]
    still = {start for start, _ in values if counted is not None and counted.is_open(start.date())}
    return charts.columns(values, asked.over, still_open=still)


def _behind(asked: _Asked, counted: store.CountedUntil | None) -> str | None:
    """A note if counts by day lack more than the last minutes."""
    if counted is None:
        return None
    if counted.pings_until is None:
        return "The first pings are being counted: a minute or two."
    if asked.now - counted.pings_until > MOST_BEHIND:
        return f"Counts include pings up to {formatting.stamp(counted.pings_until)}."
    return None


async def _newcomers(asked: _Asked) -> charts.Columns | None:
    if asked.fleet is None:
        return None
    counted = await store.new_over_time(asked.pool, asked.fleet, asked.over, asked.now)
    return asked.columns(counted, asked.fleet.counted.at)


async def _looks(asked: _Asked, totals: Mapping[str, Any]) -> list[Look]:
    """What needs attention, the most serious first."""
    forks = await store.forks_counted(asked.pool, asked.product, asked.since)
    quarantined = await store.quarantine_counted(asked.pool, asked.product)
    suspect = await store.suspect_pings(asked.pool, asked.product, asked.since)
    today = await _outcomes_today(asked)
    intake = link("/intake", product=asked.product, range=asked.over.name)
    looks = (
        _look(
            forks["installations"],
            "installation",
            "with an identity that two copies continued",
            f"{intake}#forks",
        ),
        _look(quarantined, "ping", "in quarantine", f"{intake}#quarantine"),
        _look(
            totals.get("with_missing", 0),
            "installation",
            "with missing pings",
            asked.rows(attention="missing"),
        ),
        _look(totals.get("with_lost", 0), "installation", "with lost pings", asked.rows(attention="lost")),
        _look(suspect, "ping", "with a clock far off", f"{intake}#clocks", most=store.MOST_SUSPECT),
        _look(today["rejected"], "ping", "rejected today", f"{intake}#outcomes"),
        _look(today["unknown_field"], "field", "unknown and ignored today", f"{intake}#outcomes"),
    )
    return [look for look in looks if look.count]


def _look(count: int, noun: str, what: str, path: str, most: int | None = None) -> Look:
    """`most`: the limit of the count."""
    more = most is not None and count > most
    return Look(min(count, most or count), f"{noun if count == 1 else noun + 's'} {what}", path, more)


async def _outcomes_today(asked: _Asked) -> dict[str, int]:
    counts = {"rejected": 0, "unknown_field": 0}
    for row in await store.outcomes(asked.pool, asked.product, asked.now.date()):
        kind = row["outcome"].partition(":")[0]
        if kind in counts:
            counts[kind] += row["count"]
    return counts


ROUTES = (get("/", overview, "The overview", HTML, PARAMETERS, permission=Permission.NUMBERS),)
