"""The seats of a license over time, from the timelines of the copies that had its key. Pure.

A copy takes a seat from its first ping on while it has the key, is neither late nor lost, and is in no free
environment: by what the server knew at the time, as in `seats_used`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple, TypeAlias

from telemetry_server.enrich.lifecycle import SILENT
from telemetry_server.model import UNKNOWN

KEY, ENVIRONMENT, LIFE = "license.key", "service.environment", "life"
"""The fields of the timeline on which it depends whether a copy takes a seat."""

Step: TypeAlias = tuple[datetime, int]
"""A moment, and how many copies more or less take a seat from then on."""


class Turn(NamedTuple):
    """A change of one of the fields above."""

    changed_at: datetime
    field: str
    before: str | None
    after: str | None


class CopyOnKey(NamedTuple):
    """A copy: its first ping, the present values of the fields, and its turns in their order."""

    first_received_at: datetime
    present: Mapping[str, str | None]
    turns: Sequence[Turn]


class SeatChange(NamedTuple):
    """A change of the number of seats of a license; None: any number."""

    changed_at: datetime
    before: int | None
    after: int | None


def takes_seat_of(keys: frozenset[str], free_environments: Iterable[str]) -> Callable[..., bool]:
    """Whether a copy with these values takes a seat of the license with one of the keys."""
    free = frozenset(free_environments)

    def takes(values: Mapping[str, str | None]) -> bool:
        environment = (values[ENVIRONMENT] or UNKNOWN).lower()
        return values[KEY] in keys and environment not in free and values[LIFE] not in SILENT

    return takes


def steps_of(copy: CopyOnKey, takes: Callable[..., bool]) -> list[Step]:
    """When the copy took a seat (1), and when it gave it back (-1)."""
    values = dict(copy.present)
    for each in reversed(copy.turns):
        values[each.field] = each.before
    moment, taken = copy.first_received_at, False
    found: list[Step] = []
    for turn in (None, *copy.turns):
        if turn is not None:
            moment, values[turn.field] = turn.changed_at, turn.after
        if takes(values) is not taken:
            taken = not taken
            found.append((moment, 1 if taken else -1))
    return found


def seats_at(moment: datetime, seats: int | None, changes: Sequence[SeatChange]) -> int | None:
    """How many seats the license had, by its present number and the changes in their order."""
    return next((change.before for change in changes if change.changed_at > moment), seats)


def used_by_day(steps: Iterable[Step], first: date, last: date) -> dict[date, int]:
    """How many seats were taken at the end of each day (UTC)."""
    waiting = sorted(steps, reverse=True)
    day, used, found = first, 0, {}
    while day <= last:
        ends_at = datetime.combine(day + timedelta(days=1), time(), UTC)
        while waiting and waiting[-1][0] < ends_at:
            used += waiting.pop()[1]
        found[day] = used
        day += timedelta(days=1)
    return found


def over_since(steps: Iterable[Step], seats: int | None, changes: Sequence[SeatChange]) -> datetime | None:
    """Since when more seats have been taken than there are, without a break; None: they are not."""
    moves: dict[datetime, int] = {change.changed_at: 0 for change in changes}
    for moment, by in steps:
        moves[moment] = moves.get(moment, 0) + by
    used, since = 0, None
    for moment in sorted(moves):
        used += moves[moment]
        granted = seats_at(moment, seats, changes)
        is_over = granted is not None and used > granted
        since = (since or moment) if is_over else None
    return since
