"""The report of a case: one HTML file without script, with its charts as SVG. Pure but for its template.

The language is of leads: what the rows show, what a rule means and does not mean. It finds no one guilty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import orjson

from telemetry_server.investigate.evidence_tables import Tally
from telemetry_server.show.render import document

WIDTH = 1000
_OF_CASE = (
    *(
        "title",
        "customer",
        "subject",
        "product",
        "state",
        "decision",
        "decision_reason",
        "opened_at",
        "owner",
    ),
    *("hold_ground", "similar"),
)
_OF_FINDING = (
    *("title", "means", "does_not_mean", "falsepositives", "rule", "subject", "first_seen", "last_seen"),
    "closed_at",
)
_MOST_LANES = 40


@dataclass(frozen=True, slots=True)
class Columns:
    """A column chart: x, y, width and height of each column, with its title, and the labels of its axis."""

    columns: Sequence[tuple[float, float, float, float, str]]
    first: date
    last: date
    most: int


@dataclass(frozen=True, slots=True)
class Lanes:
    """A lane for each installation: its id, its count, and the x and width of each run of days."""

    lanes: Sequence[tuple[str, int, Sequence[tuple[float, float, str]]]]
    more: int
    first: date
    last: date


def render(
    about: Mapping[str, Any],
    *,
    tallies: Sequence[Tally],
    notices: Sequence[Any],
    handovers: Sequence[Mapping[str, Any]],
    custody: Sequence[Mapping[str, Any]],
) -> str:
    """The report as HTML."""
    pings = next((each for each in tallies if each.name == "pings" and each.count), None)
    findings = [{**dict.fromkeys(_OF_FINDING), **each} for each in about["findings"]]
    return document(
        "investigate/report.html",
        about=about,
        case={**dict.fromkeys(_OF_CASE), **about["case"]},
        findings=findings,
        tallies=tallies,
        notices=notices,
        rows_of_notice={} if pings is None else pings.notices,
        handovers=handovers,
        custody=[_entry(each) for each in custody],
        columns=None if pings is None else columns_of(pings),
        lanes=None if pings is None else lanes_of(pings),
        parts=waterfall(about["case"].get("score_parts") or ()),
    )


def columns_of(tally: Tally, height: int = 120) -> Columns:
    """Rows per day. Days without rows are gaps: nothing came, or nothing was copied."""
    first, last = date.fromisoformat(min(tally.by_day)), date.fromisoformat(max(tally.by_day))
    step = WIDTH / ((last - first).days + 1)
    most = max(tally.by_day.values())
    columns = []
    for day, count in sorted(tally.by_day.items()):
        tall = max(1.0, height * count / most)
        x = (date.fromisoformat(day) - first).days * step
        columns.append(
            (
                round(x, 2),
                round(height - tall, 2),
                round(max(step * 0.8, 0.5), 2),
                round(tall, 2),
                f"{day}: {count}",
            )
        )
    return Columns(columns, first, last, most)


def lanes_of(tally: Tally) -> Lanes:
    """When each installation reported: the longest histories, in order of their first day."""
    first, last = date.fromisoformat(min(tally.by_day)), date.fromisoformat(max(tally.by_day))
    step = WIDTH / ((last - first).days + 1)
    longest = sorted(tally.spans.items(), key=lambda item: (-item[1].count, item[0]))[:_MOST_LANES]
    lanes = []
    for copy, span in sorted(longest, key=lambda item: (item[1].first, item[0])):
        runs = [
            (
                round((begun - first).days * step, 2),
                round(max(((ended - begun).days + 1) * step, 2), 2),
                f"{begun} to {ended}",
            )
            for begun, ended in _runs(sorted(map(date.fromisoformat, span.days)))
        ]
        lanes.append((copy, span.count, runs))
    return Lanes(lanes, len(tally.spans) - len(lanes), first, last)


def _runs(days: Sequence[date], gap: int = 2) -> list[tuple[date, date]]:
    """Days in a row, those with less than `gap` days between them taken together."""
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] <= timedelta(days=gap):
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs


@dataclass(frozen=True, slots=True)
class Part:
    """A step of the waterfall: what it adds in bits; where its bar begins, and its width, in percent."""

    label: str
    bits: float
    left: float
    width: float


def waterfall(parts: Sequence[Mapping[str, Any]]) -> list[Part]:
    """The steps from the prior to the sum, on one scale that has zero on it."""
    edges = [0.0]
    for each in parts:
        edges.append(edges[-1] + float(each["bits"]))
    low, high = min(edges), max(edges)
    scale = 100 / (high - low) if high > low else 0.0
    return [
        Part(
            str(each["label"]),
            float(each["bits"]),
            round((min(before, after) - low) * scale, 2),
            round(abs(after - before) * scale, 2),
        )
        for each, before, after in zip(parts, edges, edges[1:], strict=False)
    ]


def _entry(each: Mapping[str, Any]) -> Mapping[str, Any]:
    content = each.get("redacted_content") or orjson.loads(each["content"])
    return {**content, "leaf": each["leaf"]}
