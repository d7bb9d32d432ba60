"""How fast releases are adopted, from the copies of each version at the end of each day. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from telemetry_server.check.filters.parser import version_key
from telemetry_server.show.charts_time import Around, Flag, Series, TimeChart, stacked
from telemetry_server.store.registry.releases import Release

_CLASSES, _OTHERS = ("1", "3", "2"), "4"
"""The colours of the versions that are the most frequent in the end, and of the others together."""


def days_to_half(releases: Iterable[Release], rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """By release, after how many days half of the copies had it or a later version; left out: not yet.

    `rows`: day, value (the version; None: a rare one) and installations. A release of before the first day is
    left out, too: when half of the copies had it is not known.
    """
    by_day: dict[date, list[tuple[tuple[int, ...] | None, int]]] = defaultdict(list)
    keys: dict[str | None, tuple[int, ...] | None] = {None: None}
    for row in rows:
        if row["value"] not in keys:
            keys[row["value"]] = version_key(row["value"])
        by_day[row["day"]].append((keys[row["value"]], row["installations"]))
    medians = {day: _median(by_day[day]) for day in sorted(by_day)}
    first, found = min(by_day, default=date.max), {}
    for release in releases:
        key, released_on = version_key(release.version), release.released_on
        if key is None or released_on is None or released_on < first:
            continue
        for day, median in medians.items():
            if day >= released_on and median is not None and median >= key:
                found[release.version] = (day - released_on).days
                break
    return found


def _median(counts: Sequence[tuple[tuple[int, ...] | None, int]]) -> tuple[int, ...] | None:
    """The version that half of the copies have, or a later one; None: too many have no known version."""
    known = sorted(((key, count) for key, count in counts if key is not None), reverse=True)
    whole, newer = sum(count for _, count in counts), 0
    for key, count in known:
        newer += count
        if 2 * newer >= whole:
            return key
    return None


def adoption(
    rows: Sequence[Mapping[str, Any]], starts: Sequence[datetime], releases: Iterable[Release], around: Around
) -> TimeChart:
    """The copies of the versions that are the most frequent in the end, and of the others together."""
    counted = {(row["day"], row["value"]): row["installations"] for row in rows}
    days = {row["day"] for row in rows}
    newest = max(days, default=None)
    last = {value: count for (day, value), count in counted.items() if day == newest and value is not None}
    named = sorted(last, key=lambda version: -last[version])[: len(_CLASSES)]
    named.sort(key=lambda version: version_key(version) or ())

    def values(of: Iterable[str | None]) -> list[int | None]:
        wanted = list(of)
        return [
            sum(counted.get((start.date(), each), 0) for each in wanted) if start.date() in days else None
            for start in starts
        ]

    series = [Series(_CLASSES[place], version, values([version])) for place, version in enumerate(named)]
    others = [each for each in {value for _, value in counted} if each not in named]
    if others:
        series.insert(0, Series(_OTHERS, "Other versions", values(others)))
    shown = [one for one in releases if one.released_on and starts and one.released_on >= starts[0].date()]
    flags = [Flag(one.released_on, one.version) for one in shown if one.released_on is not None]
    return stacked("Copies by version", starts, series, replace(around, flags=flags))
