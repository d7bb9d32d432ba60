"""Sequence numbers as half-open ranges, as int8multirange keeps them."""

from collections.abc import Iterable
from typing import Any, TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]


def ranges(multirange: Iterable[Any]) -> Ranges:
    """The ranges of an int8multirange of the driver."""
    return tuple((part.lower, part.upper) for part in multirange)


def holes(received: Ranges) -> Ranges:
    """The gaps of `received`, which is in order, from 1 on: the numbers that never came."""
    ends = [1, *(end for _, end in received)]
    starts = [start for start, _ in received]
    return tuple((end, start) for end, start in zip(ends, starts, strict=False) if end < start)


def multirange(parts: Iterable[tuple[int, int]]) -> str:
    """The ranges as the text of an int8multirange."""
    return "{" + ",".join(f"[{start},{end})" for start, end in parts) + "}"
