"""Work that many ask for at once, done once for all of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class SingleFlight(Generic[Found]):
    """Runs `work` once for all who asked before it began, and one run after the other.

    Each run waits `pause` seconds for others to join; with 0, for those that are ready to.
    """

    def __init__(self, work: Callable[[], Awaitable[Found]], *, pause: float = 0.1) -> None:
        self._work = work
        self._pause = pause
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Found] | None = None

    async def run(self) -> Found:
        """What a run gave that began after this call; raises what it raised."""
        if self._next is None:
            self._next = asyncio.create_task(self._begin())
        return await asyncio.shield(self._next)

    async def _begin(self) -> Found:
        async with self._turn:
            await asyncio.sleep(self._pause)
            self._next = None
            return await self._work()
