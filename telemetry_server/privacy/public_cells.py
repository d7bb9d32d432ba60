"""How numbers of customers are made safe to publish. Pure; docs/privacy.md says why each part is needed.

A cell is the set of customers that have a value of a dimension. Its number is perturbed by a noise that a MAC
of the set selects: the same set always gets the same noise. It is rounded, and published from LEAST customers
on. Over many weeks the noise alone would average out, as the sets change. So a cell is drawn anew only every
DRAWN_EVERY weeks, and its number changes only by STEP or more.
"""

import hmac
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256

NOISE: Mapping[int, int] = {-3: 8, -2: 24, -1: 56, 0: 80, 1: 56, 2: 24, 3: 8}
"""Of 256 cells, how many get which noise: mean 0, variance 1.75."""
LEAST = 20
BASE = 5
DRAWN_EVERY = 13
STEP = 25
DIMENSIONS: Mapping[str, str] = {
    "total": "Customers",
    "product": "Products",
    "version": "Versions",
    "edition": "Editions",
    "country": "Countries",
    "os": "Operating systems",
}
"""One-way tables with their titles; versions and editions are named with their product."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A published number of customers, as drawn in the week that begins on `drawn_on`."""

    dimension: str
    value: str
    customers: int
    drawn_on: date


def week_of(day: date) -> date:
    """The Monday of a day's week."""
    return day - timedelta(days=day.weekday())


def noise_of(key: bytes, customers: Iterable[bytes]) -> int:
    """The noise of a cell: the same for the same customers, in every table."""
    mac = hmac.new(key, digestmod="sha256")
    for customer in sorted(customers):
        mac.update(customer)
    drawn = mac.digest()[0]
    for noise, share in NOISE.items():
        if drawn < share:
            return noise
        drawn -= share
    raise AssertionError("the shares of the noise are 256 in all")


def rounded(count: int) -> int | None:
    """A perturbed count as published; None if it may be of fewer than LEAST customers."""
    return None if count < LEAST + max(NOISE) else (count + BASE // 2) // BASE * BASE


def is_drawn(dimension: str, value: str, week: date) -> bool:
    """Whether a cell is drawn anew in that week: each has its turn."""
    turn = int.from_bytes(sha256(f"{dimension}\n{value}".encode()).digest()[:4], "big")
    return (week.toordinal() // 7 - turn) % DRAWN_EVERY == 0


def release(
    key: bytes,
    dimension: str,
    cells: Mapping[str, AbstractSet[bytes]],
    before: Mapping[str, Figure],
    week: date,
    *,
    first: bool = False,
) -> list[Figure]:
    """The figures of a dimension for a week, after those `before`; in the `first` week all are drawn."""
    figures = []
    for value in sorted({*cells, *before}):
        old = before.get(value)
        if not first and not is_drawn(dimension, value, week):
            figures += [old] if old else []
            continue
        customers = cells.get(value, frozenset())
        count = rounded(len(customers) + noise_of(key, customers))
        if count is None:
            continue
        kept = old is not None and abs(count - old.customers) < STEP
        figures.append(old if old and kept else Figure(dimension, value, count, week))
    return figures
