"""Uploads that take long to read: one at a time, in slices between which everything else has its turn.

They are rationed, too: whoever enrols can sign, enrolment is free, and eight KiB of gzip may hold eight MiB.
"""

import asyncio
import time
from collections.abc import Callable

from telemetry_server.model import Arrival, Slices
from telemetry_server.receive.limiter import Limiter, network_of

RATION_SECONDS = 4  # what a network may use of these at once, all others wait for


class SlowLane:
    """Reads what is not read at once, one upload after the other.

    `cpu` rations the seconds of processor time of each network and product, `inflated` the bytes.
    """

    def __init__(
        self, *, cpu: Limiter, inflated: Limiter, clock: Callable[[], float] = time.thread_time
    ) -> None:
        self._cpu = cpu
        self._inflated = inflated
        self._clock = clock
        self._turn = asyncio.Lock()

    async def run(self, arrival: Arrival, slices: Slices) -> None:
        """Does the work in `slices`. Raises what they raise, and TooManyRequests beyond the rations."""
        key = network_of(arrival.address), arrival.known_sender.product.slug
        self._refuse_overdrawn(key)
        async with self._turn:
            self._refuse_overdrawn(key)  # others of the same network came first
            try:
                for _ in self._metered(key, slices):
                    await asyncio.sleep(0)
            finally:
                self._inflated.charge(key, len(arrival.body))

    def _refuse_overdrawn(self, key: object) -> None:
        self._cpu.refuse_overdrawn(key)
        self._inflated.refuse_overdrawn(key)

    def _metered(self, key: object, slices: Slices) -> Slices:
        """The same slices; each is charged for, also the last, and one that raises."""
        going_on = True
        while going_on:
            begin = self._clock()
            try:
                going_on = next(slices, self) is not self
            finally:
                self._cpu.charge(key, self._clock() - begin)
            yield
