"""Refuses uploads while the clock is far behind; their senders repeat them when it is right.

A ping received by such a clock would be older than the retention: not counted, and soon deleted.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from telemetry_server.errors import Unavailable
from telemetry_server.logs import Severity, log
from telemetry_server.model import Arrival
from telemetry_server.single_flight import SingleFlight
from telemetry_server.store.clock import TOLERANCE, lead, read_clock
from telemetry_server.store.database import Acquire, translated


def _now() -> datetime:
    return datetime.now(UTC)


class ClockWatch:
    """Whether the clock of this process is more than `most_behind` behind, as far as the database knows.

    `look` checks that. After the clock was set, no moment is accepted before another check.
    """

    def __init__(
        self, acquire: Acquire, most_behind: timedelta, clock: Callable[[], datetime] = _now
    ) -> None:
        self._acquire = acquire
        self._most_behind = most_behind
        self._clock = clock
        self._look_once = SingleFlight(self.look).run
        self._lead: timedelta | None = None  # of the clock at the last check
        self._problem: str | None = None

    async def look(self) -> None:
        """Compares the clock with the others. Raises Unavailable if it cannot."""
        now = self._clock()
        ahead = lead(now)
        async with translated(), self._acquire() as connection:
            read = await read_clock(connection, now)
        self._lead = ahead
        self._note(read.doubt if read.lag > self._most_behind else None)

    def refuse_pings(self, arrival: Arrival) -> Awaitable[None] | None:
        """The step that refuses uploads received by a clock that is too far behind."""
        if not self._knows(lead(arrival.received_at)):
            return self.demand(arrival.received_at)
        self._refuse()
        return None

    async def demand(self, moment: datetime) -> None:
        """Raises Unavailable if `moment`, read from the clock just now, is or may be too far behind."""
        ahead = lead(moment)
        if not self._knows(ahead):
            await self._look_once()
        if not self._knows(ahead):
            raise Unavailable(
                "The server's clock was just set; send the same again after the time in Retry-After."
            )
        self._refuse()

    def _knows(self, ahead: timedelta) -> bool:
        return self._lead is not None and abs(ahead - self._lead) <= TOLERANCE

    def _refuse(self) -> None:
        if self._problem:
            raise Unavailable(
                "The server's clock is wrong: it is far behind. Send the same again after the time in "
                "Retry-After."
            )

    def _note(self, problem: str | None) -> None:
        before, self._problem = self._problem, problem
        if problem and not before:
            log("uploads refused: the clock is too far behind", Severity.ERROR, error=problem)
        elif before and not problem:
            log("uploads taken again: the clock is right")
