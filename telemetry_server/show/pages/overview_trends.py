"""The charts of the overview, at the end of each day: what no license covers, and who came and went."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from telemetry_server.show.charts_time import (
    Around,
    Flag,
    Series,
    TimeChart,
    diverging,
    stacked,
    steps_between,
)
from telemetry_server.show.pages.overview_numbers import ACTIVE, counted_of
from telemetry_server.show.scope import Days, Scope
from telemetry_server.show.verdict_groups import NOT_COVERED
from telemetry_server.store.counts import active
from telemetry_server.store.counts.active import ActiveTotals
from telemetry_server.store.counts.active_days import TURNED
from telemetry_server.store.counts.counting import Span
from telemetry_server.store.database import Pool
from telemetry_server.store.registry.chart_notes import ChartNote
from telemetry_server.store.registry.releases import released_between

_TURNS = {"new": "New", "returned": "Returned", "lost": "Lost"}


@dataclass(frozen=True, slots=True)
class Compared:
    """The totals at the end of the days, and of those to compare with; None: not counted."""

    last: ActiveTotals | None
    before: ActiveTotals | None

    def difference(self, name: str) -> int | None:
        """Of a count now and before."""
        if self.last is None or self.before is None:
            return None
        return int(getattr(self.last, name)) - int(getattr(self.before, name))

    @property
    def points(self) -> float | None:
        """By how many points of percent the share that is not covered has changed."""
        if self.last is None or self.before is None or not self.last.active or not self.before.active:
            return None
        share = self.last.uncovered / self.last.active - self.before.uncovered / self.before.active
        return round(100 * share, 1)


async def compared(pool: Pool, scope: Scope) -> Compared:
    days = [scope.days.last, *([scope.compared.last] if scope.compared else [])]
    found = await active.active_totals(pool, counted_of(scope), days, now=scope.now)
    return Compared(found.get(days[0]), found.get(days[1]) if len(days) > 1 else None)


async def uncovered(pool: Pool, scope: Scope, notes: Sequence[ChartNote]) -> TimeChart | None:
    """Stacked columns of what no license covers, by verdict group; None: not counted yet."""
    counted = await active.uncovered_series(pool, counted_of(scope), _span(scope, scope.days), now=scope.now)
    if not counted.rows:
        return None
    by_group = _by_verdict(counted.rows)
    known = {row["day"] for row in counted.rows}
    days = [start.date() for start in scope.steps]
    series = [
        Series(
            group.name,
            group.text,
            [_sum(by_group, group.verdicts, day) if day in known else None for day in days],
            scope.rows(filter=f"{ACTIVE} {group.term}"),
        )
        for group in NOT_COVERED
    ]
    before = await _before(pool, scope, len(days))
    around = await _around(pool, scope, "uncovered", before, notes=notes)
    return stacked("Copies no license covers", scope.steps, series, around)


async def turned(pool: Pool, scope: Scope, notes: Sequence[ChartNote]) -> TimeChart | None:
    """New and returned above, lost below the axis; None: not counted yet."""
    counted = await active.active_series(
        pool, TURNED, counted_of(scope), _span(scope, scope.days), now=scope.now
    )
    if not counted.rows:
        return None
    values: dict[str, dict[date, int]] = {name: {} for name in _TURNS}
    for row in counted.rows:
        values.setdefault(row["value"], {})[row["day"]] = row["installations"]
    days = [start.date() for start in scope.steps]
    made = {
        name: Series(name, text, [values[name].get(day, 0) for day in days]) for name, text in _TURNS.items()
    }
    around = await _around(pool, scope, "turned", (), notes=notes, height=150, sums=True)
    return diverging(
        "New, returned and lost copies", scope.steps, [made["new"], made["returned"]], [made["lost"]], around
    )


async def _before(pool: Pool, scope: Scope, steps: int) -> Sequence[int | None]:
    """The sums of the days to compare with, step by step beside those of the chart."""
    if scope.compared is None:
        return ()
    counted = await active.uncovered_series(
        pool, counted_of(scope), _span(scope, scope.compared), now=scope.now
    )
    sums: dict[date, int] = {}
    for row in counted.rows or []:
        sums[row["day"]] = sums.get(row["day"], 0) + row["installations"]
    values = [sums.get(day) for day in scope.compared.starts(scope.step)][:steps]
    return [*values, *[None] * (steps - len(values))]


async def _around(
    pool: Pool,
    scope: Scope,
    name: str,
    before: Sequence[int | None],
    *,
    notes: Sequence[ChartNote],
    height: int = 240,
    sums: bool = False,
) -> Around:
    flags = [Flag(one.day, "note", f"{one.note} ({_name(one.author)})", is_note=True) for one in notes]
    if scope.product is not None:
        releases = await released_between(pool, scope.product, scope.days.first, scope.days.last)
        flags += [Flag(row["released_on"], row["version"], f"{row['version']} released") for row in releases]
    return Around(
        step=steps_between(scope.steps),
        zone=scope.zone,
        height=height,
        before=before,
        before_text=scope.compared_text[0].upper() + scope.compared_text[1:],
        flags=flags,
        still_open={start for start in scope.steps if _is_open(start, scope)},
        zoom=scope.zoom,
        csv=scope.here(csv=name),
        sums=sums,
    )


def _name(author: str) -> str:
    return author.removeprefix("person:")


def _is_open(start: datetime, scope: Scope) -> bool:
    """Whether the step is the last one, and not over."""
    return start == scope.steps[-1] and scope.days.last == scope.now.date()


def _span(scope: Scope, days: Days) -> Span:
    return Span(days.first, days.last, scope.step)


def _by_verdict(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, date], int]:
    return {(row["value"], row["day"]): row["installations"] for row in rows}


def _sum(counted: Mapping[tuple[str, date], int], verdicts: Iterable[str], day: date) -> int:
    return sum(counted.get((verdict, day), 0) for verdict in verdicts)
