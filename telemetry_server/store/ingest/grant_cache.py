"""The cache of licenses for ingest, at most half a minute behind the registry.

In a large fleet that pings once a day, most keys are needed once and then not again for long. So one query
looks up the keys of all uploads that wait for the cache; the uploads of the next query gather meanwhile.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final, Self

import asyncpg

from telemetry_server.errors import Unavailable
from telemetry_server.model import (
    UNKNOWN_YET,
    Arrival,
    Grant,
    LicenseSource,
    LicenseStatus,
    LicenseType,
    Overage,
    Ping,
    ProductId,
    Unknown,
)
from telemetry_server.single_flight import SingleFlight
from telemetry_server.store.database import AWAY, Connect, Connection, translated
from telemetry_server.store.queries import load

SQL = load(__name__)

MOST_KEYS = 100_000
_KNOWN_SECONDS = 24  # counted from before the query, so nothing is older than 30 seconds when it is written
_NO_LICENSE_SECONDS = 12
_QUERY_SECONDS = 5
_NEVER: Final = (-math.inf, None)


class GrantCache:
    """The grants of recently used keys, and the keys without a license.

    Holds the newest `most_keys`; uploads of at most `most_bytes` wait for a query. `connect` opens the one
    connection of the cache; use as an async context manager, which closes it.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        most_keys: int = MOST_KEYS,
        most_bytes: int = 64 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._most_keys = most_keys
        self._most_bytes = most_bytes
        self._bytes = 0
        self._clock = clock
        # The grant of each key, and until when it is valid; the oldest first.
        self._known: OrderedDict[bytes, tuple[float, Grant | None]] = OrderedDict()
        self._no_license_until = 0.0
        self._wanted: set[bytes] = set()
        self._look_up_wanted = SingleFlight(self._look_up, pause=0).run

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            with suppress(*AWAY, asyncpg.PostgresError):
                await self._connection.close(timeout=2)

    def find(self, key_hash: bytes) -> Grant | Unknown | None:
        """The grant of the key; None: no license has it; UNKNOWN_YET: `load` it first."""
        now = self._clock()
        if now < self._no_license_until:
            return None
        until, grant = self._known.get(key_hash, _NEVER)
        return grant if now < until else UNKNOWN_YET

    def prefetch(self, arrival: Arrival) -> Awaitable[None] | None:
        """The step after which `find` knows all keys of the upload; None if it does already."""
        hashes = {
            item.license_key_hash
            for item in arrival.items
            if isinstance(item, Ping) and item.license_key_hash is not None
        }
        return self._wait(hashes, len(arrival.body)) if self._missing(hashes) else None

    async def load(self, hashes: Iterable[bytes]) -> None:
        """Looks up those of these keys that are not in the cache. Raises Unavailable."""
        if missing := self._missing(hashes):
            self._wanted.update(missing)
            await self._look_up_wanted()

    async def _wait(self, hashes: set[bytes], size: int) -> None:
        """Loads until all are in the cache at the same time."""
        if self._bytes + size > self._most_bytes:
            raise Unavailable("The server holds all the pings it can.")
        self._bytes += size
        try:
            while self._missing(hashes):
                await self.load(hashes)
        finally:
            self._bytes -= size

    def _missing(self, hashes: Iterable[bytes]) -> list[bytes]:
        return [key_hash for key_hash in hashes if self.find(key_hash) is UNKNOWN_YET]

    async def _look_up(self) -> None:
        wanted, self._wanted = self._wanted, set()
        asked_at, rows = self._clock(), await self._rows(list(wanted))
        if [row["key_hash"] for row in rows] == [None]:  # there is no license at all
            self._no_license_until = asked_at + _NO_LICENSE_SECONDS
            return
        found = {row["key_hash"]: grant_of(row) for row in rows}
        for key_hash in wanted:
            self._known[key_hash] = asked_at + _KNOWN_SECONDS, found.get(key_hash)
            self._known.move_to_end(key_hash)  # keeps the order of expiry
        while len(self._known) > self._most_keys or next(iter(self._known.values()))[0] <= asked_at:
            self._known.popitem(last=False)

    async def _rows(self, hashes: list[bytes]) -> list[asyncpg.Record]:
        connection, self._connection = self._connection, None
        async with translated(), asyncio.timeout(_QUERY_SECONDS):
            if connection is None or connection.is_closed():
                connection = await self._connect()
            try:
                rows: list[asyncpg.Record] = await connection.fetch(SQL["grants_of_keys"], hashes)
                self._connection = connection
            finally:
                if self._connection is None:
                    connection.terminate()  # it may be in any state
        return rows


def grant_of(row: Mapping[str, Any]) -> Grant:
    """The grant of the license in `row`; equal ones are the same object."""
    return _shared(
        ProductId(row["product_id"]),
        LicenseStatus(row["status"]),
        LicenseType(row["type"]),
        None if row["source"] is None else LicenseSource(row["source"]),
        row["seats"],
        row["seats_used"],
        Overage(row["overage"]),
        _networks(tuple(map(str, row["addresses"]))),
        tuple(environment.lower() for environment in row["free_environments"]),
        row["starts_at"],
        row["expires_at"],
    )


_shared = lru_cache(16_384)(Grant)


@lru_cache(16_384)
def _networks(addresses: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(address, strict=False) for address in addresses)
