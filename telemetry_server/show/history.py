"""The history of one installation for its page: pings, gaps and changes. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from telemetry_server.store.fleet.installations import Row

_SILENCE = 2.5  # intervals without a ping, from which on the time is shown
_PROVENANCE = {"source", "built_on", "prefix_length", "hosting_source"}
_MOST_HOLLOW = 12  # marks for missing numbers in a row; the rest is shown as a number


@dataclass(frozen=True, slots=True)
class Change:
    """A changed fact with its values; None is unknown."""

    fact: str
    before: Any
    after: Any


@dataclass(slots=True)
class Entry:
    """One ping, and how it differs from the previous one.

    `missing`: half-open range of the numbers that never came between the two. `silence`: the time between
    them if it was long.
    """

    row: Row
    reason: str | None
    features: int
    changes: tuple[Change, ...] = ()
    missing: tuple[int, int] | None = None
    silence: timedelta | None = None

    @property
    def hollow(self) -> int:
        """Number of marks drawn for the missing numbers."""
        return min(self.missing[1] - self.missing[0], _MOST_HOLLOW) if self.missing else 0


def entries(rows: Sequence[Row], earlier: Row | None, interval: timedelta) -> list[Entry]:
    """An entry for each of `rows`, the highest number first; `earlier` is the ping before the last row.

    A ping without a previous one has no changes.
    """
    found = []
    for row, before in zip(rows, [*rows[1:], earlier], strict=True):
        features = orjson.loads(row["features"]) if row["features"] else {}
        entry = Entry(row, orjson.loads(row["details"]).get("reason"), sum(features.values()))
        if before:
            entry.changes = changes(before, row)
            if before["sequence"] + 1 < row["sequence"]:
                entry.missing = before["sequence"] + 1, row["sequence"]
            if (passed := row["received_at"] - before["received_at"]) > _SILENCE * interval:
                entry.silence = passed
        found.append(entry)
    return found


def changes(earlier: Row, row: Row) -> tuple[Change, ...]:
    """The facts in which two pings differ, their place included."""
    if earlier["state"] == row["state"]:
        return ()
    before, after = facts(earlier), facts(row)
    differ = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    return tuple(Change(name, before.get(name), after.get(name)) for name in differ)


def facts(row: Row) -> dict[str, Any]:
    """Facts and place by dotted name, without the provenance of the place."""
    place = {name: value for name, value in orjson.loads(row["place"]).items() if name not in _PROVENANCE}
    return dict(_flat("", orjson.loads(row["facts"]) | {"place": place}))


def _flat(prefix: str, value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, inner in value.items():
        if isinstance(inner, dict):
            flat += _flat(f"{prefix}{name}.", inner)
        else:
            flat.append((prefix + name, inner))
    return flat
