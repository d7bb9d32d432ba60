"""The five figures at the head of the overview: each with its change, and a link to its rows."""

from dataclasses import dataclass

from telemetry_server.check.filters.filter_fields import LICENSES
from telemetry_server.check.filters.terms import EVERYTHING, term
from telemetry_server.show.chart_axes import short
from telemetry_server.show.formatting import number, percent, plural
from telemetry_server.show.pages.overview_numbers import ACTIVE, Copies, gone_quiet, uncovered_filter
from telemetry_server.show.pages.overview_trends import Compared
from telemetry_server.show.scope import Scope
from telemetry_server.show.slow import unless_slow
from telemetry_server.store.database import Pool
from telemetry_server.store.registry import seats

_QUIET = "life=lost life_since<7d"
_SOON = "status=active expires>0d expires<30d"  # expires<30d alone includes those that expired
_ABSENT = "\u2013"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its heading; `change`: its difference to before, in words; `worse`: when that is bad."""

    title: str
    value: str
    note: str
    href: str | None = None
    full: str = ""
    difference: float | None = None
    change: str = ""
    worse: str = ""


async def figures(
    pool: Pool, scope: Scope, found: Copies | None, trend: Compared | None, *, licenses: bool
) -> list[Figure]:
    """Those that are counted; one that takes too long says so. `licenses`: also those about licenses."""
    made = [_active(scope, found, trend), _uncovered(scope, found, trend)]
    of_product = EVERYTHING if scope.product is None else term(LICENSES["product"], "=", scope.product)
    if scope.is_known and licenses:
        over = await unless_slow(seats.over_seats(pool, of_product, now=scope.now, limit=1))
        soon = await unless_slow(seats.expiring(pool, of_product, now=scope.now))
        made += [_over(scope, found, over), _expiring(scope, soon)]
    if scope.is_known:
        made.append(await _quiet(pool, scope))
    return made


def _active(scope: Scope, found: Copies | None, trend: Compared | None) -> Figure:
    if found is None:
        return Figure("Active copies", _ABSENT, "not counted yet")
    difference = trend.difference("active") if trend else None
    before = trend.before.active if trend and trend.before else 0
    return Figure(
        "Active copies",
        short(found.active),
        f"of {number(found.known)} known",
        scope.rows(filter=ACTIVE),
        number(found.active),
        difference,
        f"{100 * abs(difference) / before:.1f} %"
        if difference and abs(difference) <= before
        else number(abs(difference or 0)),
    )


def _uncovered(scope: Scope, found: Copies | None, trend: Compared | None) -> Figure:
    if found is None:
        return Figure("Not covered by a license", _ABSENT, "not counted yet")
    points = trend.points if trend else None
    return Figure(
        "Not covered by a license",
        percent(found.uncovered, found.active),
        plural(found.uncovered, "copy", "copies"),
        scope.rows(filter=uncovered_filter()),
        difference=points,
        change=f"{abs(points or 0):.1f} pts",
        worse="up",
    )


def _over(scope: Scope, found: Copies | None, over: list[seats.Row] | None) -> Figure:
    if over is None:
        return Figure("Licenses over seats", _ABSENT, "this takes too long just now")
    count = over[0]["total"] if over else 0
    copies = found.by_verdict.get("over_seats", 0) if found else 0
    href = scope.link("/licenses", filter="exceeded=true") if "/licenses" in scope.takes else None
    return Figure("Licenses over seats", short(count), f"{plural(copies, 'copy', 'copies')} on them", href)


def _expiring(scope: Scope, soon: seats.Expiring | None) -> Figure:
    if soon is None:
        return Figure("Expire within 30 days", _ABSENT, "this takes too long just now")
    note = f"{number(soon.in_use)} still in use"
    href = scope.link("/licenses", filter=_SOON) if "/licenses" in scope.takes else None
    return Figure("Expire within 30 days", short(soon.licenses), note, href)


async def _quiet(pool: Pool, scope: Scope) -> Figure:
    found = await unless_slow(gone_quiet(pool, scope, _QUIET))
    if found is None:
        return Figure("Gone quiet this week", _ABSENT, "this takes too long just now")
    note = f"{number(found.covered)} of them covered"
    return Figure("Gone quiet this week", short(found.active), note, scope.rows(filter=_QUIET))
