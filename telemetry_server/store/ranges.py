"""Sequence numbers as half-open ranges, as int8multirange keeps them."""

from collections.abc import Iterable
from typing import Any, TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]


def ranges(multirange: Iterable[Any]) -> Ranges:
    """An int8multirange as the driver gives it."""
    return tuple((part.lower, part.upper) for part in multirange)


def holes(received: Ranges) -> Ranges:
    """What lies between 1 and `received`, which is in order: the numbers that never came."""
    ends = [1, *(end for _, end in received)]
    starts = [start for start, _ in received]
    return tuple((end, start) for end, start in zip(ends, starts, strict=False) if end < start)


def multirange(parts: Iterable[tuple[int, int]]) -> str:
    """The ranges as PostgreSQL writes an int8multirange."""
    return "{" + ",".join(f"[{start},{end})" for start, end in parts) + "}"
