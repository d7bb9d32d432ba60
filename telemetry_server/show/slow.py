"""A question that takes too long, or that cannot be asked over time, costs its card, and not the page."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from telemetry_server.store.filtering import NotThen
from telemetry_server.store.reading import TooSlow

Answer = TypeVar("Answer")


async def unless_slow(question: Awaitable[Answer]) -> Answer | None:
    """The answer; None if there is none in time, so that the rest of the page is shown."""
    try:
        return await question
    except (TooSlow, NotThen):
        return None


async def some_at_once(*questions: Awaitable[Answer]) -> list[Answer]:
    """The answers, in order. Two are asked at once: a page leaves connections of the pool to others."""
    free = asyncio.Semaphore(2)

    async def ask(question: Awaitable[Answer]) -> Answer:
        async with free:
            return await question

    return await asyncio.gather(*map(ask, questions))
