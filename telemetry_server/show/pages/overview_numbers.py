"""The numbers of the overview: active copies now, by any dimension.

Active are copies that are not lost. Each number comes with the filter of its rows. Those of a `large` fleet
are the counts of the end of this day so far: to count a million copies takes longer than a page may.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.check.filters.terms import EVERYTHING, Filter, term
from telemetry_server.show.scope import Scope
from telemetry_server.show.verdict_groups import NOT_COVERED, NOT_COVERED_TERM, VerdictGroup
from telemetry_server.store.counts import counting
from telemetry_server.store.counts.active import active_values
from telemetry_server.store.counts.counting import Question
from telemetry_server.store.counts.fleet_now import Fleet
from telemetry_server.store.database import Pool
from telemetry_server.store.filtering import NotThen

ACTIVE = "life!=lost"
_MOST = 50


@dataclass(frozen=True, slots=True)
class Copies:
    """Active copies by verdict, and all that are known."""

    known: int
    by_verdict: Mapping[str, int] = field(default_factory=dict)

    @property
    def active(self) -> int:
        return sum(self.by_verdict.values())

    @property
    def uncovered(self) -> int:
        return sum(self.of(group) for group in NOT_COVERED)

    def of(self, group: VerdictGroup) -> int:
        return sum(self.by_verdict.get(verdict, 0) for verdict in group.verdicts)

    @property
    def covered(self) -> int:
        return self.active - self.uncovered


def is_large(fleet: Fleet | None) -> bool:
    """Whether the fleet is too large to be counted for a page."""
    return fleet is None or fleet.counted.by_job


def counted_of(scope: Scope) -> Filter:
    """The filter of what is counted: the product, which is there, and what the page filters by."""
    if scope.product is None:
        return scope.filter
    return term(INSTALLATIONS["product"], "=", scope.product) + scope.filter


async def copies(pool: Pool, scope: Scope, *, large: bool) -> Copies | None:
    """None: they are not counted yet."""
    if not scope.is_known:
        return Copies(0)
    known = await counting.present(pool, _question("life", EVERYTHING, scope))
    if known.rows is None:
        return None
    by_verdict = await by_value(pool, "verdict", "", scope, large=large)
    if large and not by_verdict:
        return None
    return Copies(
        sum(row["installations"] for row in known.rows),
        {value: count for value, count in by_verdict if value is not None},
    )


async def by_value(
    pool: Pool, by: str, wanted: str, scope: Scope, *, large: bool
) -> list[tuple[str | None, int]]:
    """Active copies by value, the most frequent first; None: the rare values together."""
    if not scope.is_known:
        return []
    if large:
        with suppress(NotThen):  # the ends of days are not counted by this filter
            return await _at_end_of_day(pool, by, counted_of(scope) + parse_filter(wanted), scope)
    asked = parse_filter(" ".join(filter(None, (ACTIVE, wanted))))
    found = await counting.present(pool, _question(by, asked, scope))
    return [(row["value"], row["installations"]) for row in found.rows or []]


async def _at_end_of_day(pool: Pool, by: str, wanted: Filter, scope: Scope) -> list[tuple[str | None, int]]:
    """Of this day so far, else of the day before: a job counts them."""
    for day in (scope.now.date(), scope.now.date() - timedelta(days=1)):
        rows = await active_values(pool, by, wanted, day, now=scope.now)
        if any(row["installations"] for row in rows):
            return [(row["value"], row["installations"]) for row in rows if row["installations"]]
    return []


async def gone_quiet(pool: Pool, scope: Scope, wanted: str) -> Copies:
    """The copies of that filter by verdict, lost ones among them."""
    if not scope.is_known:
        return Copies(0)
    found = await counting.present(pool, _question("verdict", parse_filter(wanted), scope))
    rows = found.rows or []
    return Copies(
        sum(row["installations"] for row in rows), {row["value"]: row["installations"] for row in rows}
    )


def _question(by: str, wanted: Filter, scope: Scope) -> Question:
    """About the chosen product, or all."""
    return Question(by, wanted + counted_of(scope), scope.now, _MOST)


def uncovered_filter() -> str:
    """The filter of the copies that no license covers."""
    return f"{ACTIVE} {NOT_COVERED_TERM}"
