"""The memory of licenses that ingest asks, at most half a minute behind the registry.

A fleet of a million pings once a day: most keys are asked for once and then not for long. So what is
not remembered is looked up for all uploads that wait in one query, and while that runs, the next ones
gather. Most keys are granted the same, so a remembered key takes little more than its hash.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Self, TypeAlias

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
from telemetry_server.store.database import AWAY, translated
from telemetry_server.store.queries import load

SQL = load(__name__)

Connect: TypeAlias = Callable[[], Awaitable[asyncpg.Connection]]

MOST_KEYS = 100_000
# Two generations and a query that takes as long as it may: nothing is older than 30 seconds.
_GENERATION_SECONDS = 12
_QUERY_SECONDS = 5


class _Round:
    """Keys that are looked up together, and those who wait for them."""

    def __init__(self) -> None:
        self.hashes: set[bytes] = set()
        self.over = asyncio.Event()
        self.failure: Unavailable | None = None


class GrantCache:
    """What the licenses of recently used keys grant, and which keys no license has.

    The memory has a young and an old half. When the young half is full or 12 seconds old it becomes the
    old one, which is forgotten: what is used all the time is looked up anew as well. `connect` opens the
    one connection the cache has; use it as an async context manager, which closes that.
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
        self._connection: asyncpg.Connection | None = None
        self._most_young = max(most_keys // 2, 1)
        self._most_bytes = most_bytes
        self._bytes = 0
        self._clock = clock
        self._young: dict[bytes, Grant | None] = {}
        self._old: dict[bytes, Grant | None] = {}
        self._young_until = 0.0
        self._empty_until = 0.0
        self._next: _Round | None = None
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            with suppress(*AWAY, asyncpg.PostgresError):
                await self._connection.close(timeout=2)

    def find(self, key_hash: bytes) -> Grant | Unknown | None:
        """What the license of the key grants; None: no license has it; UNKNOWN_YET: `load` it first."""
        now = self._clock()
        if now < self._empty_until:
            return None
        if now >= self._young_until:
            self._age()
        found = self._young.get(key_hash, UNKNOWN_YET)
        return self._old.get(key_hash, UNKNOWN_YET) if found is UNKNOWN_YET else found

    def prefetch(self, arrival: Arrival) -> Awaitable[None] | None:
        """The step after which `find` knows all keys of the upload: at once, for most."""
        hashes = {
            item.license_key_hash
            for item in arrival.items
            if isinstance(item, Ping) and item.license_key_hash is not None
        }
        return self._wait(hashes, len(arrival.body)) if self._missing(hashes) else None

    async def load(self, hashes: Iterable[bytes]) -> None:
        """Looks up what is not known of these keys. Raises Unavailable."""
        missing = self._missing(hashes)
        while missing:
            if self._next is None:
                await self._ask(missing)
            else:
                await self._join(self._next, missing)
            missing = self._missing(missing)

    async def _wait(self, hashes: set[bytes], size: int) -> None:
        """As `load`; uploads of no more than `most_bytes` wait at a time."""
        if self._bytes + size > self._most_bytes:
            raise Unavailable("The server holds all the pings it can.")
        self._bytes += size
        try:
            while self._missing(hashes):  # what was known may be forgotten meanwhile
                await self.load(hashes)
        finally:
            self._bytes -= size

    def _missing(self, hashes: Iterable[bytes]) -> list[bytes]:
        return [key_hash for key_hash in hashes if self.find(key_hash) is UNKNOWN_YET]

    async def _join(self, this: _Round, missing: list[bytes]) -> None:
        this.hashes.update(missing)
        await this.over.wait()
        if this.failure is not None:
            raise Unavailable(this.failure.detail)

    async def _ask(self, missing: list[bytes]) -> None:
        """Opens a round, waits until the one before it is over, and asks for all who joined meanwhile.

        Whoever asks may be cancelled: then those who joined find their keys missing, and ask themselves.
        """
        this = self._next = _Round()
        this.hashes.update(missing)
        try:
            async with self._asking:
                await asyncio.sleep(0)  # whoever is ready to join does so now
                self._next = None
                await self._look_up(list(this.hashes))
        except Unavailable as failure:
            this.failure = failure
            raise
        finally:
            if self._next is this:
                self._next = None
            this.over.set()

    async def _look_up(self, hashes: list[bytes]) -> None:
        asked_at, rows = self._clock(), await self._rows(hashes)
        if [row["key_hash"] for row in rows] == [None]:  # there is no license at all: nothing to ask for
            self._empty_until = asked_at + _GENERATION_SECONDS
            return
        found = {row["key_hash"]: grant_of(row) for row in rows}
        for key_hash in hashes:
            if len(self._young) >= self._most_young:
                self._age()
            self._young[key_hash] = found.get(key_hash)

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

    def _age(self) -> None:
        """The young half becomes the old one; when that is overdue, it is too old for either."""
        now = self._clock()
        overdue, full = now >= self._young_until + _GENERATION_SECONDS, now < self._young_until
        self._old, self._young = {} if overdue else self._young, {}
        self._young_until = (now if overdue or full else self._young_until) + _GENERATION_SECONDS


def grant_of(row: Mapping[str, Any]) -> Grant:
    """What the license in `row` grants; equal ones are the same object."""
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
