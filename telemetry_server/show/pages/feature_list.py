"""Features: how many copies use each, how often, since when more or less; by version, edition, verdict …"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check.filters.filter_fields import FEATURES as FIELDS
from telemetry_server.check.filters.parser import version_key
from telemetry_server.check.filters.terms import Filter, term
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, get
from telemetry_server.show.charts_small import Spark, spark
from telemetry_server.show.charts_time import Heat
from telemetry_server.show.csv_file import csv_file
from telemetry_server.show.query import one_of, read_query
from telemetry_server.show.render import page
from telemetry_server.show.scope import SCOPE, Days, Scope, read_scope
from telemetry_server.show.slow import some_at_once, unless_slow
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.counts.counting import Counts, Span, TimeStep
from telemetry_server.store.counts.feature_use import feature_use
from telemetry_server.store.database import Pool
from telemetry_server.store.dimensions import ALL

BY = {"version": "Version", "edition": "Edition", "verdict": "Verdict", "life": "Life"}
"""What the share of copies is shown by."""
PARAMETERS = (
    *SCOPE,
    Parameter("by", "What the share of copies is by.", one_of(*BY) | {"default": "version"}),
    Parameter("csv", "The same rows as a file.", one_of("features")),
)
_MOST, _WEEKS = 200, 12
_HEAT_ROWS, _HEAT_COLUMNS, _VALUES = 30, 8, 60
_COLUMNS = ("feature", "share_percent", "uses", "uses_per_report", "installations", "change_points")


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A feature: percent of the reporting copies that use it, and how that was before; None: not known."""

    feature: str
    share: float
    uses: int
    per_report: float
    installations: int
    change: float | None
    weeks: Spark | None


async def feature_list(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    scope, pool = await read_scope(request, asked), request.app[app_keys.POOL]
    wanted = _wanted(scope, request)
    days, twelve = scope.days, Days(scope.now.date() - timedelta(weeks=_WEEKS), scope.now.date())
    used, before, weekly, by_value = await some_at_once(
        _use(pool, ALL, wanted, days, TimeStep.TOTAL),
        _use(pool, ALL, wanted, scope.compared, TimeStep.TOTAL),
        _use(pool, ALL, wanted, twelve, TimeStep.WEEK),
        _use(pool, asked["by"], wanted, days, TimeStep.TOTAL, most=_HEAT_ROWS),
    )
    rows = None if used is None or used.rows is None else _rows(used.rows, before, weekly)
    if "csv" in asked and rows is not None:  # else the page says why
        return await csv_file("features", _COLUMNS, [_as_cells(row) for row in rows], scope.now)
    silent = _silent(weekly, rows or ())
    return page(
        request,
        "features.html",
        scope=scope,
        scope_time=True,
        rows=rows,
        heat=heat_of(by_value, asked["by"]),
        tabs=[(text, scope.here(by=name), name == asked["by"]) for name, text in BY.items()],
        silent=silent,
        file=scope.here(csv="features"),
    )


def _wanted(scope: Scope, request: web.Request) -> Filter:
    products = request[VIEWER].products
    if scope.product is not None:
        return term(FIELDS["product"], "=", scope.product)
    return Filter() if products is None else term(FIELDS["product"], "=", *sorted(products))


async def _use(
    pool: Pool, by: str, wanted: Filter, days: Days | None, step: TimeStep, *, most: int = _MOST
) -> Counts | None:
    """The use in these days; None where it takes too long, or without days."""
    if days is None:
        return None
    span, now = Span(days.first, days.last, step), datetime.now(UTC)
    return await unless_slow(feature_use(pool, by, wanted, span, now=now, limit=most, values=_VALUES))


def _rows(
    used: Sequence[Mapping[str, Any]], before: Counts | None, weekly: Counts | None
) -> list[FeatureRow]:
    earlier = {row["feature"]: _share(row) for row in (before.rows or () if before else ())}
    weeks = _by_week(weekly)
    return [_row(row, earlier, weeks) for row in used]


def _row(
    row: Mapping[str, Any], earlier: Mapping[str, float], weeks: Mapping[str, list[int | None]]
) -> FeatureRow:
    name, share = row["feature"], _share(row)
    return FeatureRow(
        name,
        share,
        row["uses"],
        round(row["uses"] / max(row["used_by"], 1), 1),
        row["installations"],
        round(share - earlier[name], 1) if name in earlier else None,
        spark(weeks[name], f"{name}, {_WEEKS} weeks") if name in weeks else None,
    )


def _share(row: Mapping[str, Any]) -> float:
    """Percent of the reports of a day that had the feature."""
    return round(100 * row["used_by"] / row["reports"], 1) if row["reports"] else 0.0


def _by_week(weekly: Counts | None) -> dict[str, list[int | None]]:
    """By feature, its share in tenths of a percent, week by week; 0 in a week without it."""
    rows = weekly.rows or () if weekly else ()
    starts = sorted({row["day"] for row in rows})
    found: dict[str, list[int | None]] = {}
    for row in rows:
        values = found.setdefault(row["feature"], [0] * len(starts))
        values[starts.index(row["day"])] = round(10 * _share(row))
    return found


def heat_of(counts: Counts | None, by: str = "version") -> Heat | None:
    """The share of copies by feature and value; of versions the newest one, and the most frequent ones."""
    rows = [row for row in (counts.rows or [] if counts else []) if row["value"] is not None]
    if not rows:
        return None
    reports = {row["value"]: row["reports"] for row in rows}
    columns = sorted(reports, key=lambda value: -reports[value])
    if by == "version":
        newest = max(columns, key=_numbers)
        columns = [newest, *(value for value in columns if value != newest)]
    columns = columns[:_HEAT_COLUMNS]
    if by == "version":
        columns.sort(key=_numbers, reverse=True)
    cells = {(row["feature"], row["value"]): round(_share(row)) for row in rows}
    names = list(dict.fromkeys(row["feature"] for row in rows))[:_HEAT_ROWS]
    return Heat(
        f"Share of copies by {by}",
        [value.replace("_", " ") if by == "verdict" else value for value in columns],
        [(name, [cells.get((name, value), 0) for value in columns]) for name in names],
        "%",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return version_key(version) or ()


def _silent(weekly: Counts | None, rows: Sequence[FeatureRow]) -> list[str]:
    """The features that were used in twelve weeks, but not in the time of the page."""
    used = {row.feature for row in rows}
    return sorted({row["feature"] for row in (weekly.rows or () if weekly else ())} - used)


def _as_cells(row: FeatureRow) -> dict[str, Any]:
    values = row.feature, row.share, row.uses, row.per_report, row.installations, row.change
    return dict(zip(_COLUMNS, values, strict=True))


ROUTES = (
    get("/features", feature_list, "The use of features", HTML, PARAMETERS, permission=Permission.NUMBERS),
)
