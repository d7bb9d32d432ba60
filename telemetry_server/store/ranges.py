"""Sequence numbers as half-open ranges, as int8multirange keeps them."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]


def holes(received: Sequence[Any]) -> Ranges:
    """What lies between 1 and the ranges of `received`, which are in order: the numbers that never came."""
    ends = [1, *(part.upper for part in received)]
    starts = [part.lower for part in received]
    return tuple((end, start) for end, start in zip(ends, starts, strict=False) if end < start)


def multirange(ranges: Iterable[tuple[int, int]]) -> str:
    """The ranges as PostgreSQL writes an int8multirange."""
    return "{" + ",".join(f"[{start},{end})" for start, end in ranges) + "}"
