"""Batches in which PostgreSQL refuses some items: all others are written."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

import asyncpg

Item = TypeVar("Item")
Result = TypeVar("Result")

Halves: TypeAlias = list[tuple[Sequence[Item], Result | asyncpg.PostgresError]]


def blames_data(error: asyncpg.PostgresError) -> bool:
    """Whether the SQLSTATE is of a class that is caused by the data, so that a retry fails too."""
    return (error.sqlstate or "")[:2] in {"22", "23", "54"}


async def halving(
    batch: Sequence[Item],
    work: Callable[[Sequence[Item]], Awaitable[Result]],
    *,
    blames: Callable[[asyncpg.PostgresError], bool] = blames_data,
) -> Halves[Item, Result]:
    """Does the work on the batch; where that fails, on its halves, until a refused item is alone.

    Returns the parts in order, each with the result, or with the error where it is one refused item.
    Raises errors that `blames` says the data did not cause.
    """
    try:
        return [(batch, await work(batch))]
    except asyncpg.PostgresError as error:
        if not blames(error):
            raise
        if len(batch) == 1:
            return [(batch, error)]
    middle = len(batch) // 2
    first = await halving(batch[:middle], work, blames=blames)
    return first + await halving(batch[middle:], work, blames=blames)
