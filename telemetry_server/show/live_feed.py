"""The newest pings for everyone who looks at the page "Live": one query a second for all who see the same.

Nothing is read while no one looks, and no task runs: the streams of the viewers themselves do the reading.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from aiohttp import web

from telemetry_server.errors import Unavailable
from telemetry_server.single_flight import SingleFlight
from telemetry_server.store.database import Pool
from telemetry_server.store.fleet import installations
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.ingest.followed import follow, followed_pings
from telemetry_server.store.visible import is_hiding

SHOWN = 50
SECONDS = 1.0
MOST_VIEWERS = 200  # of one process
_WINDOW = timedelta(minutes=1)  # a ping is stored some time after it was received


class TooManyLook(Unavailable):
    """Too many people look at the live page just now; reload it later."""

    code = "too_many_look"


class LookedAt(NamedTuple):
    """What a viewer looks at: pings of these products (None: all), or of one installation."""

    products: frozenset[str] | None
    installation_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest pings; of a followed installation also as they were sent. The newest are first."""

    rows: list[Row]
    sent: list[dict[str, Any]]


Look: TypeAlias = Callable[[], Awaitable[Newest]]


class LiveFeed:
    """Shares one reading among all viewers of the same pings who may see the same of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._flights: dict[tuple[LookedAt, bool], SingleFlight[Newest]] = {}
        self._viewers: dict[tuple[LookedAt, bool], int] = {}

    @asynccontextmanager
    async def watching(self, what: LookedAt) -> AsyncIterator[Look]:
        """Gives a function that waits a second and returns what is newest then. Raises TooManyLook."""
        if sum(self._viewers.values()) >= MOST_VIEWERS:
            raise TooManyLook
        same = what, is_hiding()
        self._viewers[same] = self._viewers.get(same, 0) + 1
        flight = self._flights.setdefault(
            same, SingleFlight(lambda: newest(self._pool, what, _WINDOW), pause=SECONDS)
        )
        try:
            yield flight.run
        finally:
            self._viewers[same] -= 1
            if not self._viewers[same]:
                del self._viewers[same], self._flights[same]


async def newest(pool: Pool, what: LookedAt, within: timedelta) -> Newest:
    """What was received within that time, SHOWN pings at most. An installation is followed from now on."""
    now, sent = datetime.now(UTC), list[dict[str, Any]]()
    if what.installation_id is not None:
        await follow(pool, what.installation_id, now)
        sent = await followed_pings(pool, what.installation_id)
    rows = await installations.pings(
        pool,
        installation_id=what.installation_id,
        since=now - within,
        limit=SHOWN,
        products=what.products,
    )
    return Newest(rows, sent)


LIVE = web.AppKey("live", LiveFeed)
