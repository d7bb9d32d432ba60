"""Uploads that take long to read: one at a time, in slices between which all other work runs.

They are rate-limited: any enrolled client can sign, enrolment is free, and 8 KiB of gzip may hold 8 MiB.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias

from telemetry_server.model import Arrival
from telemetry_server.receive.limiter import Limiter, network_of

RATION_SECONDS = 4  # of processor time at once for a network, while all others wait

Work: TypeAlias = Iterator[Awaitable[None] | None]
"""The remaining work of an upload: None after each slice, and awaitables to wait for."""


class SlowLane:
    """Reads slow uploads, one after the other.

    `cpu` limits the seconds of processor time of each network and product, `inflated` the bytes.
    """

    def __init__(
        self, *, cpu: Limiter, inflated: Limiter, clock: Callable[[], float] = time.thread_time
    ) -> None:
        self._cpu = cpu
        self._inflated = inflated
        self._clock = clock
        self._turn = asyncio.Lock()

    async def run(self, arrival: Arrival, work: Work) -> Awaitable[None] | None:
        """Does the work up to its first awaitable, which is returned; None at the end.

        Raises what the work raises, and TooManyRequests beyond the limits.
        """
        key = network_of(arrival.address), arrival.known_sender.product.slug
        self._refuse_overdrawn(key)
        async with self._turn:
            self._refuse_overdrawn(key)  # others of the same network ran first
            try:
                for wait in self._metered(key, work):
                    if wait is not None:
                        return wait
                    await asyncio.sleep(0)
            finally:
                self._inflated.charge(key, len(arrival.body))
        return None

    def _refuse_overdrawn(self, key: object) -> None:
        self._cpu.refuse_overdrawn(key)
        self._inflated.refuse_overdrawn(key)

    def _metered(self, key: object, work: Work) -> Work:
        """The work with each slice charged, also the last, and one that raises."""
        going_on = True
        while going_on:
            begin, wait = self._clock(), None
            try:
                wait = next(work)
            except StopIteration:
                going_on = False
            finally:
                self._cpu.charge(key, self._clock() - begin)
            yield wait
