"""The time zone of a browser: a script keeps it in a cookie, and pages show times in it; UTC until then."""

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from aiohttp import web

COOKIE = "tz"
_UTC = ZoneInfo("UTC")
_LONGEST = 64


def zone_of(request: web.Request) -> ZoneInfo:
    """The zone that the browser named, else UTC."""
    return _zone(request.cookies.get(COOKIE, "")[:_LONGEST])


def short_time(moment: datetime, now: datetime, zone: ZoneInfo) -> str:
    """The time today, the day and time this year, else the date: 14:02 · 28 Nov 14:02 · 28 Nov 2025."""
    local, today = moment.astimezone(zone), now.astimezone(zone)
    if local.date() == today.date():
        return f"{local:%H:%M}"
    if local.year == today.year:
        return f"{local.day} {local:%b %H:%M}"
    return f"{local.day} {local:%b %Y}"


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name) if name else _UTC
    except (ValueError, OSError, KeyError):  # no such zone, or no name of one
        return _UTC
