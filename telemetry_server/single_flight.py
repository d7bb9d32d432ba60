"""Single flight: one run of a function for all concurrent callers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class SingleFlight(Generic[Found]):
    """Runs `work` once for all calls before its start; runs do not overlap.

    Each run waits `pause` seconds for more callers; with 0, only for those that are ready.
    """

    def __init__(self, work: Callable[[], Awaitable[Found]], *, pause: float = 0.1) -> None:
        self._work = work
        self._pause = pause
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Found] | None = None

    async def run(self) -> Found:
        """The result, or the exception, of a run that starts after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._begin())
        return await asyncio.shield(self._next)

    async def _begin(self) -> Found:
        async with self._turn:
            await asyncio.sleep(self._pause)
            self._next = None
            return await self._work()
