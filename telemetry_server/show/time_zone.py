"""The time zone of pages: that of the profile, else of the browser, from the cookie of a script, else UTC."""

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from aiohttp import web

from telemetry_server.show.viewer import VIEWER

COOKIE = "tz"
_UTC = ZoneInfo("UTC")
_LONGEST = 64


def zone_of(request: web.Request) -> ZoneInfo:
    """The zone that the person chose, else the one that the browser named, else UTC."""
    viewer = request.get(VIEWER)
    chosen = viewer.person.time_zone if viewer and viewer.person else "UTC"
    return _zone(chosen if chosen != "UTC" else request.cookies.get(COOKIE, "")[:_LONGEST])


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
