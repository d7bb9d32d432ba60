"""The days of a license in a time zone, and the moments at which they begin and end. Pure.

A license is valid through its last day; `expires_at` is the first moment of the next one.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_DAY, _TICK = timedelta(days=1), timedelta(microseconds=1)


def beginning(said: date | None, time_zone: str) -> datetime | None:
    """The first moment of a day, in UTC. A moment and None are returned unchanged."""
    if said is None or isinstance(said, datetime):
        return said
    return datetime(said.year, said.month, said.day, tzinfo=ZoneInfo(time_zone)).astimezone(UTC)


def end(said: date | None, time_zone: str) -> datetime | None:
    """The first moment after a day, in UTC; None, no end, for 9999-12-31. A moment is returned unchanged."""
    if said is None or isinstance(said, datetime):
        return said
    return None if said == date.max else beginning(said + _DAY, time_zone)


def first_day(starts_at: datetime | None, time_zone: str) -> date | None:
    """The day on which a license starts."""
    return starts_at and starts_at.astimezone(ZoneInfo(time_zone)).date()


def last_day(expires_at: datetime | None, time_zone: str) -> date | None:
    """The last day on which a license is valid."""
    return expires_at and (expires_at - _TICK).astimezone(ZoneInfo(time_zone)).date()


def shown_end(expires_at: datetime, time_zone: str) -> date:
    """The last day if the license is valid through the whole of it, else the moment at which it ends."""
    day = last_day(expires_at, time_zone)
    return day if day is not None and end(day, time_zone) == expires_at else expires_at


def shown_beginning(starts_at: datetime, time_zone: str) -> date:
    """The first day if the license is valid from its first moment on, else the moment at which it starts."""
    day = first_day(starts_at, time_zone)
    return day if day is not None and beginning(day, time_zone) == starts_at else starts_at
