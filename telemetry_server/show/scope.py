"""The scope of a page: product, time, comparison, step, filter. It stands in the URL and travels with links.

`SCOPE` are the parameters; a page that takes them hands `scope` to its template. Links made by
`Scope.link` carry what the page they lead to takes, so that no choice is lost between pages.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check import ranges
from telemetry_server.check.filters.parser import YEARS
from telemetry_server.check.filters.terms import EVERYTHING, Filter
from telemetry_server.check.ranges import Range
from telemetry_server.errors import BadRequest
from telemetry_server.permissions import Permission
from telemetry_server.routing import Parameter
from telemetry_server.show.filters import FILTERS, chosen_product, filter_from
from telemetry_server.show.links import link
from telemetry_server.show.query import DAY, one_of, text
from telemetry_server.show.time_zone import zone_of
from telemetry_server.show.viewer import SHARED, VIEWER, Viewer
from telemetry_server.store.counts.counting import TimeStep
from telemetry_server.store.fleet import installations
from telemetry_server.store.fleet.installations import Row

LONGEST_DAYS = 1_100

_ONE_DAY = timedelta(days=1)
_YEAR = Range("365d", "12 months", _ONE_DAY, 365)
PRESETS: Mapping[str, Range] = {**ranges.RANGES, _YEAR.name: _YEAR}
"""The ranges by name. Keys of the keyboard: their first letters, see static/app.js."""

COMPARISONS: Mapping[str, str] = {
    "previous": "Previous period",
    "year": "Same days last year",
    "none": "No comparison",
}
SHARED_PAGES = frozenset({"/", "/features", "/releases", "/map"})
"""The pages that a share link shows."""
_DEFAULT_COMPARISON = "previous"
_STEPS = {str(step): f"{step}".capitalize() for step in (TimeStep.DAY, TimeStep.WEEK, TimeStep.MONTH)}
_LONG_SPAN = 120  # days, from which on the step is a week unless chosen

TIME = (
    Parameter("range", "The time to look at.", one_of(*PRESETS)),
    Parameter("from", "The first day to look at, UTC; with to, instead of range.", DAY),
    Parameter("to", "The last day to look at, UTC.", DAY),
    Parameter("compare", "What to compare with.", one_of(*COMPARISONS)),
    Parameter("step", "The step of charts.", one_of(*_STEPS)),
)
PRODUCT = Parameter("product", "The product's slug.", text())
SCOPE = (PRODUCT, *TIME)
_FILTER = "filter"
NAMES = frozenset(parameter.name for parameter in SCOPE)
FILTERED = (*SCOPE, FILTERS[0])
"""The parameters of a page that a filter of installations narrows."""


@dataclass(frozen=True, slots=True)
class Days:
    """Whole days (UTC) from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def count(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def text(self) -> str:
        """As people write it: 3 to 17 Nov 2026."""
        return f"{_short(self.first, self.last)} to {_short(self.last, None)}"

    @property
    def each(self) -> list[date]:
        """Every day."""
        return [self.first + timedelta(days=number) for number in range(self.count)]

    def starts(self, step: TimeStep) -> Iterator[date]:
        """The first day of each step: Mondays, the first of months; the first one may be before the days."""
        day = _start_of(self.first, step)
        while day <= self.last:
            yield day
            day = _next_start(day, step)

    def back(self, days: int) -> "Days":
        """As many days, `days` earlier."""
        return Days(self.first - timedelta(days=days), self.last - timedelta(days=days))


@dataclass(frozen=True, slots=True)
class Scope:
    """What a page looks at. `chosen` are the parameters as given; `takes` says which a path takes.

    `shared`: the path before those of pages, if a share link shows them.
    """

    path: str
    chosen: Mapping[str, str]
    takes: Mapping[str, frozenset[str]]
    product: str | None
    products: Sequence[Row]
    over: Range
    days: Days
    custom: bool
    compare: str
    step: TimeStep
    zone: ZoneInfo
    now: datetime
    filter: Filter = EVERYTHING
    shared: str = ""

    def link(self, path: str, **changes: Any) -> str:
        """`path` with the chosen scope as far as that page takes it, and with `changes`; None removes one.

        A fragment stays at the end. Empty for a page that the share link does not show.
        """
        base, _, fragment = path.partition("#")
        if self.shared and base not in SHARED_PAGES:
            return ""
        takes = self.takes.get(base, frozenset())
        kept = {name: value for name, value in self.chosen.items() if name in takes}
        made = link(self._address(base), **{**kept, **changes})
        return f"{made}#{fragment}" if fragment else made

    @property
    def address(self) -> str:
        """This page, for its forms."""
        return self._address(self.path)

    def _address(self, path: str) -> str:
        return f"{self.shared}{path}".rstrip("/") if self.shared else path

    def here(self, **changes: Any) -> str:
        """This page with other choices; a new range replaces days, and days a range."""
        if {"range", "from"} & changes.keys():
            changes = {"range": None, "from": None, "to": None, **changes}
        return self.link(self.path, **changes)

    def hidden(self, *but: str) -> list[tuple[str, str]]:
        """What a form of this page sends along: the choices, without those named `but`."""
        return [(name, value) for name, value in self.chosen.items() if name not in but]

    def rows(self, **filters: Any) -> str:
        """The list of installations with these filters, and that of the page."""
        if self.filter.terms and filters.get(_FILTER):
            filters[_FILTER] = f"{self.filter} {filters[_FILTER]}"
        return self.link("/installations", **filters)

    def filtered(self, asked: Mapping[str, Any], viewer: Viewer) -> "Scope":
        """With the filter of installations in `asked`. Raises BadFilter.

        A share link has none: strangers could ask for customers, addresses and keys, one guess at a time.
        """
        if self.shared:
            return self
        given, addresses = {_FILTER: asked.get(_FILTER, "")}, viewer.may(Permission.ADDRESSES)
        filter_from(given, self.now, within=viewer.products, addresses=addresses)
        return replace(self, filter=filter_from(given, self.now, within=None, addresses=addresses))

    @property
    def shown_products(self) -> list[Row]:
        """The products that are counted."""
        if self.product is None:
            return list(self.products)
        return [one for one in self.products if one["slug"] == self.product]

    @property
    def is_known(self) -> bool:
        """Whether there is the chosen product."""
        return self.product is None or bool(self.shown_products)

    @property
    def zoom(self) -> str:
        """This page for days that are put in for {from} and {to}."""
        address = self.here(**{"from": "FROM", "to": "TO"})
        return address.replace("=FROM", "={from}").replace("=TO", "={to}")

    @property
    def product_name(self) -> str:
        named = [str(one["name"]) for one in self.products if one["slug"] == self.product]
        return named[0] if named else self.product or "All products"

    @property
    def range_text(self) -> str:
        return self.days.text if self.custom else f"Last {self.over.text}"

    @property
    def compared(self) -> Days | None:
        """The days to compare with."""
        if self.compare == "none":
            return None
        return self.days.back(364 if self.compare == "year" else self.days.count)

    @property
    def compared_text(self) -> str:
        """What changes are against, as the end of a sentence."""
        if self.compare == "year":
            return "a year before"
        return f"the {'day' if self.days.count == 1 else f'{self.days.count} days'} before"

    @property
    def earlier(self) -> str | None:
        """The page one period earlier; None: no page takes such days."""
        moved = self.days.back(self.days.count)
        return self._moved(moved) if moved.first.year in YEARS else None

    @property
    def later(self) -> str | None:
        """The page one period later; None: that is in the future."""
        moved = self.days.back(-self.days.count)
        return None if moved.first > self.now.date() else self._moved(moved)

    def _moved(self, days: Days) -> str:
        return self.here(**{"from": str(days.first), "to": str(min(days.last, self.now.date()))})

    @property
    def since(self) -> datetime:
        """The exact beginning of the time."""
        return datetime.combine(self.days.first, time(), UTC) if self.custom else self.over.since(self.now)

    @property
    def counted_over(self) -> Range:
        """The shortest range of the present counts that holds these days."""
        longer = [
            one for one in ranges.RANGES.values() if one.step * one.steps >= self.over.step * self.over.steps
        ]
        return min(longer, key=lambda one: one.step * one.steps, default=ranges.RANGES["90d"])

    @property
    def steps(self) -> list[datetime]:
        """The start of each step of a chart."""
        return [datetime.combine(day, time(), UTC) for day in self.days.starts(self.step)]

    @property
    def presets(self) -> list[tuple[str, str, bool]]:
        """Text, address and whether it is the chosen one."""
        return [
            (f"Last {one.text}", self.here(range=name), not self.custom and one is self.over)
            for name, one in PRESETS.items()
        ]

    @property
    def months(self) -> list[tuple[str, str, bool]]:
        """Likewise, whole months and the year so far."""
        today = self.now.date()
        month, year = today.replace(day=1), today.replace(month=1, day=1)
        last = month - _ONE_DAY
        named = {
            "This month": Days(month, today),
            "Last month": Days(last.replace(day=1), last),
            "This year": Days(year, today),
        }
        return [(text, self._moved(days), self.custom and days == self.days) for text, days in named.items()]

    @property
    def comparisons(self) -> list[tuple[str, str, bool]]:
        return [
            (words, self.here(compare=None if name == _DEFAULT_COMPARISON else name), name == self.compare)
            for name, words in COMPARISONS.items()
        ]

    @property
    def step_choices(self) -> list[tuple[str, str, bool]]:
        return [(words, self.here(step=name), name == self.step) for name, words in _STEPS.items()]


async def read_scope(request: web.Request, asked: Mapping[str, Any]) -> Scope:
    """The scope in `asked`, as read by `read_query`. Raises BadRequest; BadFilter for a foreign product."""
    viewer, now, shared = request[VIEWER], datetime.now(UTC), request.get(SHARED, "")
    kept = NAMES if shared else NAMES | {_FILTER}
    named = await installations.product_names(request.app[app_keys.POOL])
    over, days, custom = _time(asked, now)
    step = TimeStep(asked.get("step", TimeStep.WEEK if days.count > _LONG_SPAN else TimeStep.DAY))
    return Scope(
        path=request.path,
        chosen={name: value for name, value in request.query.items() if name in kept},
        takes=_takes(request),
        product=chosen_product(asked.get("product"), viewer.products),
        products=[each for each in named if viewer.sees(each["slug"])],
        over=over,
        days=days,
        custom=custom,
        compare=asked.get("compare", _DEFAULT_COMPARISON),
        step=step,
        zone=zone_of(request),
        now=now,
        shared=shared,
    )


def _takes(request: web.Request) -> dict[str, frozenset[str]]:
    """What each page takes of the scope, by its path: a filter where it is one of the same fields."""
    pages = [route for route in request.app[app_keys.ROUTES] if route.page and route.method == "GET"]
    here = [one for page in pages if page.path == request.path for one in page.parameters]
    return {
        page.path: frozenset(
            one.name
            for one in page.parameters
            if one.where == "query" and (one.name in NAMES or (one.name == _FILTER and one in here))
        )
        for page in pages
    }


def _time(asked: Mapping[str, Any], now: datetime) -> tuple[Range, Days, bool]:
    today = now.date()
    if "from" not in asked and "to" not in asked:
        over = PRESETS[asked["range"]] if "range" in asked else ranges.DEFAULT
        days = ranges.daily(over)
        return over, Days(today - timedelta(days=days.steps - 1), today), False
    last = min(asked.get("to", today), today)
    first = asked.get("from", last - timedelta(days=29))
    if first > last:
        raise BadRequest("from must not be later than to, and not in the future.")
    days_asked = Days(first, last)
    if days_asked.count > LONGEST_DAYS:
        raise BadRequest(f"from and to may be {LONGEST_DAYS:,} days apart.")
    return Range("custom", days_asked.text, _ONE_DAY, days_asked.count), days_asked, True


def _start_of(day: date, step: TimeStep) -> date:
    if step is TimeStep.DAY:
        return day
    return day - timedelta(days=day.weekday()) if step is TimeStep.WEEK else day.replace(day=1)


def _next_start(day: date, step: TimeStep) -> date:
    if step is TimeStep.DAY:
        return day + _ONE_DAY
    if step is TimeStep.WEEK:
        return day + timedelta(days=7 - day.weekday())
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _short(day: date, beside: date | None) -> str:
    """A day, without what it shares with the one beside it."""
    if beside is not None and (day.year, day.month) == (beside.year, beside.month):
        return str(day.day)
    year = "" if beside is not None and day.year == beside.year else f" {day.year}"
    return f"{day.day} {day:%b}{year}"
