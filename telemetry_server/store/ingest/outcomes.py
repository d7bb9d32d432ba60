"""What happened to pings that were not simply accepted, counted at the moment it happened."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import date
from uuid import UUID

from telemetry_server.model import Arrival, Ping, RefusedPing, Status
from telemetry_server.store.database import AWAY, Acquire, Connection
from telemetry_server.store.queries import load

SQL = load(__name__)


class OutcomeCounter:
    """Counts in memory by day, product and outcome; a job writes them down every few seconds."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[date, UUID, str]] = Counter()

    def count(self, arrival: Arrival) -> None:
        """The step that counts, when an upload is written. The usual one leaves nothing to count."""
        for status in arrival.written.others.values():
            if status is not Status.ACCEPTED:
                self._add(arrival, status)
        for item in arrival.items:
            if isinstance(item, RefusedPing):
                self._add(arrival, f"{Status.REJECTED}:{item.reason}")
            else:
                self._count_dropped(arrival, item)

    def _count_dropped(self, arrival: Arrival, ping: Ping) -> None:
        if ping.unknown:
            self._add(arrival, "unknown_field", ping.unknown)
        if ping.stripped:
            self._add(arrival, "stripped_field", ping.stripped)

    def _add(self, arrival: Arrival, outcome: str, count: int = 1) -> None:
        self._counts[arrival.received_at.date(), arrival.known_sender.product.id, outcome] += count

    @asynccontextmanager
    async def kept_to_the_last(self, acquire: Acquire) -> AsyncIterator[None]:
        """Writes down, on the way out, what was counted since the last time."""
        yield
        with suppress(*AWAY):
            async with acquire() as connection:
                await self.write_down(connection)

    async def write_down(self, connection: Connection) -> None:
        """Adds the counts to ingest_counts; on an error they stay for the next time."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            rows = sorted(
                (*key, count) for key, count in counts.items()
            )  # one order: no two processes wait for each other
            await connection.execute(SQL["add_counts"], *map(list, zip(*rows, strict=True)))
        except BaseException:
            self._counts.update(counts)
            raise
