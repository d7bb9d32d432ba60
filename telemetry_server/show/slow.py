"""A question that takes too long costs its card, and not the page."""

from collections.abc import Awaitable
from typing import TypeVar

from telemetry_server.store.reading import TooSlow

Answer = TypeVar("Answer")


async def unless_slow(question: Awaitable[Answer]) -> Answer | None:
    """The answer; None if it takes too long, so that the rest of the page is shown."""
    try:
        return await question
    except TooSlow:
        return None
