"""Reproducible random numbers: the same seeds give the same throws on every Python.

Python guarantees that for Random.random only, so everything is made from it.
"""

from bisect import bisect
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import log
from random import Random
from typing import Generic, TypeVar
from uuid import UUID

Value = TypeVar("Value")

_LARGEST_NUMBER_BITS = 64


class Weighted(Generic[Value]):
    """Values to pick from, each in proportion to its weight."""

    __slots__ = ("cumulative", "values")

    def __init__(self, weighted: Iterable[tuple[Value, float]]) -> None:
        pairs = list(weighted)
        self.values: Sequence[Value] = [value for value, _ in pairs]
        self.cumulative: Sequence[float] = list(accumulate(weight for _, weight in pairs))


def zipf(values: Sequence[Value], exponent: float = 1.0) -> list[tuple[Value, float]]:
    """The values with decreasing weights: 1 / n ** exponent for the n-th."""
    return [(value, 1 / rank**exponent) for rank, value in enumerate(values, start=1)]


class Dice:
    """Throws that depend only on `numbers`, the purpose; none of them is negative."""

    __slots__ = ("unit",)

    def __init__(self, *numbers: int) -> None:
        seed = 0
        for number in numbers:
            seed = seed << _LARGEST_NUMBER_BITS | number
        self.unit = Random(seed).random  # noqa: S311  no secret depends on it

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def number(self, low: int, high: int) -> int:
        """An integer of at least `low` and less than `high`."""
        return low + int(self.unit() * (high - low))

    def exponential(self, mean: float) -> int:
        return int(-log(1 - self.unit()) * mean)

    def pick(self, table: Weighted[Value]) -> Value:
        cumulative = table.cumulative
        return table.values[bisect(cumulative, self.unit() * cumulative[-1])]

    def one_of(self, values: Sequence[Value]) -> Value:
        return values[int(self.unit() * len(values))]

    def uuid7(self, milliseconds: int) -> UUID:
        """A UUID that begins with that time (RFC 9562)."""
        high, low = self.number(0, 1 << 12), self.number(0, 1 << 31) << 31 | self.number(0, 1 << 31)
        return UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)
