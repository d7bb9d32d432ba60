"""Counts the outcomes of pings other than plain acceptance."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import date
from uuid import UUID

from telemetry_server.model import Arrival, RefusedPing, Status
from telemetry_server.store.database import AWAY, Acquire, Connection
from telemetry_server.store.queries import load

SQL = load(__name__)


class OutcomeCounter:
    """Counts in memory by day, product and outcome; a chore writes the counts every few seconds."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[date, UUID, str]] = Counter()

    def count(self, arrival: Arrival) -> None:
        """The step that counts a written upload. Most have nothing to count."""
        for status in arrival.written.others.values():
            if status is not Status.ACCEPTED:
                self._add(arrival, status)
        for item in arrival.items:
            if isinstance(item, RefusedPing):
                self._add(arrival, f"{Status.REJECTED}:{item.reason}")
            else:
                self._add(arrival, "unknown_field", item.unknown)
                self._add(arrival, "stripped_field", item.stripped)

    def _add(self, arrival: Arrival, outcome: str, count: int = 1) -> None:
        if count:
            self._counts[arrival.received_at.date(), arrival.known_sender.product.id, outcome] += count

    @asynccontextmanager
    async def kept_to_the_last(self, acquire: Acquire) -> AsyncIterator[None]:
        """Writes the remaining counts when the block is left."""
        yield
        with suppress(*AWAY):
            async with acquire() as connection:
                await self.write_down(connection)

    async def write_down(self, connection: Connection) -> None:
        """Adds the counts to ingest_counts; on an error they are kept for the next time."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            # In order, so that two processes do not deadlock.
            rows = sorted((*key, count) for key, count in counts.items())
            await connection.execute(SQL["add_counts"], *map(list, zip(*rows, strict=True)))
        except BaseException:
            self._counts.update(counts)
            raise
