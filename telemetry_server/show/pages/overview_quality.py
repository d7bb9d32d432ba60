"""The card of the overview about the data itself: what arrived in another way than it should."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from telemetry_server.show.scope import Scope
from telemetry_server.store.counts import overview as store
from telemetry_server.store.database import Pool


@dataclass(frozen=True, slots=True)
class Look:
    """A count that needs attention, its text and the path to its rows; `more`: `count` is a lower bound."""

    count: int
    what: str
    path: str
    more: bool = False


async def looks(pool: Pool, scope: Scope, totals: Mapping[str, Any]) -> list[Look]:
    """What arrived in another way than it should, the most serious first."""
    forks = await store.forks_counted(pool, scope.product, scope.since)
    quarantined = await store.quarantine_counted(pool, scope.product)
    suspect = await store.suspect_pings(pool, scope.product, scope.since)
    today = await _outcomes_today(pool, scope)
    seen = scope.counted_over.name
    found = (
        _look(
            forks["installations"],
            "installation",
            "with an identity that two copies continued",
            scope.link("/intake#forks"),
        ),
        _look(quarantined, "ping", "in quarantine", scope.link("/intake#quarantine")),
        _look(
            totals.get("with_missing", 0),
            "installation",
            "with missing pings",
            scope.rows(seen=seen, attention="missing"),
        ),
        _look(
            totals.get("with_lost", 0),
            "installation",
            "with lost pings",
            scope.rows(seen=seen, attention="lost"),
        ),
        _look(suspect, "ping", "with a wrong clock", scope.link("/intake#clocks"), most=store.MOST_SUSPECT),
        _look(today["rejected"], "ping", "rejected today", scope.link("/intake#outcomes")),
        _look(today["unknown_field"], "field", "unknown and ignored today", scope.link("/intake#outcomes")),
    )
    return [look for look in found if look.count]


def _look(count: int, noun: str, what: str, path: str, most: int | None = None) -> Look:
    """`most`: the limit of the count."""
    more = most is not None and count > most
    return Look(min(count, most or count), f"{noun if count == 1 else noun + 's'} {what}", path, more)


async def _outcomes_today(pool: Pool, scope: Scope) -> dict[str, int]:
    counts = {"rejected": 0, "unknown_field": 0}
    for row in await store.outcomes(pool, scope.product, scope.now.date()):
        kind = row["outcome"].partition(":")[0]
        if kind in counts:
            counts[kind] += row["count"]
    return counts
