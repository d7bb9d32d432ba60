"""The score of a case: the share of misuse among simulated cases with the same evidence. Pure.

The evidence of a case is, for each family, the pattern of its rules: which of them found something. Rules
of a family see the same facts, so a pattern has one likelihood ratio, never a product of several. The time
over which a pattern held is a factor of its own, and so is the number of customers that share what was
found. The logarithms are summed with that of the prior odds:

    log2 odds = log2 prior + Σ over families (log2 LR(pattern) + log2 LR(days) + log2 LR(customers))

A likelihood ratio is how much more often a pattern occurs among misuse than among honest owners, from the
counts in ratios.toml, with 1 added to each (Laplace). A pattern that was never counted has the ratio of its
largest part that was. Rules without counts add nothing. To the counts of days and of customers one count is
added that is spread as they are together: where honest owners never had the pattern, days say nothing.
"""

import math
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from importlib import resources
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias

NOTHING = "nothing"
"""The pattern of a family whose rules found nothing."""
_DAYS = ((3, "below 3"), (10, "3 to 9"), (30, "10 to 29"), (math.inf, "30 or more"))
_CUSTOMERS = ((2, "1"), (4, "2 to 3"), (11, "4 to 10"), (101, "11 to 100"), (math.inf, "more than 100"))


class Count(NamedTuple):
    """How many cases of misuse, and how many honest owners."""

    misuse: int
    honest: int


Table: TypeAlias = Mapping[str, Count]


class Found(NamedTuple):
    """A finding that counts: its rule and family, for how long it held, and how many customers share it."""

    rule: str
    family: str
    held: timedelta
    customers: int | None


class Step(NamedTuple):
    """A bar of the waterfall: what was found, log2 of its likelihood ratio, and the counts behind it."""

    what: str
    log2: float
    misuse: int
    honest: int


@dataclass(frozen=True, slots=True)
class Score:
    """`share` is the share of misuse among simulated cases like this, from 0 to 1."""

    share: float
    prior: float
    steps: Sequence[Step]

    @property
    def waterfall(self) -> dict[str, Any]:
        """As a document: log2 of the prior odds, the steps, and their sum."""
        return {
            "prior": round(self.prior, 3),
            "steps": [step._asdict() | {"log2": round(step.log2, 3)} for step in self.steps],
            "sum": round(self.prior + sum(step.log2 for step in self.steps), 3),
        }


@dataclass(frozen=True, slots=True)
class Ratios:
    """The counts of patterns by family, and of days and customers by pattern."""

    patterns: Mapping[str, Table]
    days: Mapping[str, Table]
    customers: Mapping[str, Table]


@dataclass(slots=True)
class Tally:
    """Counts the evidence of owners."""

    families: Sequence[str]
    patterns: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    days: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    customers: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def add(self, found: Iterable[Found], *, is_misuse: bool, times: int = 1) -> None:
        evidence = of_families(found)
        for family in self.families:
            here = evidence.get(family, ())
            name = pattern(here)
            _count(self.patterns, family, name, is_misuse=is_misuse, times=times)
            if here:
                _count(self.days, name, _days(here), is_misuse=is_misuse, times=times)
            if (shared := _customers(here)) is not None:
                _count(self.customers, name, shared, is_misuse=is_misuse, times=times)

    def add_counts(self, ratios: Ratios) -> None:
        """Adds what was counted before."""
        for into, counted in (
            (self.patterns, ratios.patterns),
            (self.days, ratios.days),
            (self.customers, ratios.customers),
        ):
            for table, names in counted.items():
                for name, count in names.items():
                    _count(into, table, name, is_misuse=True, times=count.misuse)
                    _count(into, table, name, is_misuse=False, times=count.honest)

    def ratios(self) -> Ratios:
        return Ratios(*(_tables(each) for each in (self.patterns, self.days, self.customers)))


@dataclass(frozen=True, slots=True)
class Scale:
    """What cases are scored by. `base_rate`: the expected share of misuse among owners."""

    ratios: Ratios
    base_rate: float

    def score(self, found: Iterable[Found]) -> Score:
        """The score of a case with these findings that count."""
        evidence, steps = of_families(found), list[Step]()
        for family, table in self.ratios.patterns.items():
            here = evidence.get(family, ())
            name = _counted_part(here, table)
            steps.append(
                Step(f"{family}: {name}", _log2(table[name], _whole(table), len(table)), *table[name])
            )
            if name != NOTHING:
                steps += self._factors(name, here)
        prior = math.log2(self.base_rate / (1 - self.base_rate))
        return Score(_share(prior + sum(step.log2 for step in steps)), prior, steps)

    def _factors(self, name: str, found: Sequence[Found]) -> Iterable[Step]:
        yield _factor(f"{name}: held for {_days(found)} days", _days(found), self.ratios.days.get(name))
        if (shared := _customers(found)) is not None:
            yield _factor(f"{name}: shared by {shared} customers", shared, self.ratios.customers.get(name))


def of_families(found: Iterable[Found]) -> dict[str, list[Found]]:
    """The findings by their family."""
    families: dict[str, list[Found]] = {}
    for each in found:
        families.setdefault(each.family, []).append(each)
    return families


def pattern(found: Iterable[Found]) -> str:
    """The pattern of a family's findings: the names of their rules."""
    return "+".join(sorted({each.rule for each in found})) or NOTHING


@cache
def shipped_ratios() -> Ratios:
    """The ratios of this package."""
    text = resources.files("telemetry_server.investigate").joinpath("ratios.toml").read_text("utf-8")
    return read_ratios(text)


def read_ratios(text: str) -> Ratios:
    """Ratios from TOML, as `write_ratios` makes it."""
    document = tomllib.loads(text)

    def tables(part: str) -> dict[str, Table]:
        return {
            family: {name: Count(*count) for name, count in table.items()}
            for family, table in document[part].items()
        }

    return Ratios(tables("patterns"), tables("days"), tables("customers"))


def write_ratios(ratios: Ratios, note: str) -> str:
    """Ratios as TOML; each count is [misuse, honest]."""
    lines = [f"# {line}" for line in note.splitlines()]
    for part in ("patterns", "days", "customers"):
        lines += ["", f"[{part}]"]
        for family, table in sorted(getattr(ratios, part).items()):
            lines += ["", f'[{part}."{family}"]']
            lines += [f'"{name}" = [{count.misuse}, {count.honest}]' for name, count in sorted(table.items())]
    return "\n".join(lines) + "\n"


# ── what it is measured against ─────────────────────────────────────────────────────────────


def naive_bayes(found: Iterable[Found], ratios: Ratios, base_rate: float) -> float:
    """Every rule on its own, as if the rules of a family saw different facts."""
    rules, total = {each.rule for each in found}, math.log2(base_rate / (1 - base_rate))
    for table in ratios.patterns.values():
        whole = _whole(table)
        for rule in {rule for name in table if name != NOTHING for rule in name.split("+")}:
            lit = Counter[str]()
            for name, count in table.items():
                if rule in name.split("+"):
                    lit.update(misuse=count.misuse, honest=count.honest)
            there = Count(lit["misuse"], lit["honest"])
            if rule not in rules:
                there = Count(whole.misuse - there.misuse, whole.honest - there.honest)
            total += _log2(there, whole, 2)
    return _share(total)


def points(strengths: Iterable[float]) -> float:
    """Hand weights of findings, added up."""
    return min(1.0, sum(strengths))


# ── ratios ──────────────────────────────────────────────────────────────────────────────────


def _counted_part(found: Sequence[Found], table: Table) -> str:
    """The pattern, or its largest part that was counted: of several, the one that says most."""
    rules = sorted({each.rule for each in found if any(each.rule in name.split("+") for name in table)})
    for size in range(len(rules), 0, -1):
        parts = [part for part in map("+".join, combinations(rules, size)) if part in table]
        if parts:
            return max(parts, key=lambda part: _log2(table[part], _whole(table), len(table)))
    return NOTHING


def _factor(what: str, name: str, table: Table | None) -> Step:
    """The likelihood ratio of a number of days or customers, given the pattern."""
    count = Count(0, 0) if table is None else table.get(name, Count(0, 0))
    if table is None or count == (0, 0):
        return Step(what, 0.0, 0, 0)
    whole = _whole(table)
    together = (count.misuse + count.honest) / (whole.misuse + whole.honest)
    misuse = (count.misuse + together) / (whole.misuse + 1)
    honest = (count.honest + together) / (whole.honest + 1)
    return Step(what, math.log2(misuse / honest), *count)


def _log2(count: Count, whole: Count, kinds: int) -> float:
    """log2 of the likelihood ratio, with 1 added to each count."""
    misuse = (count.misuse + 1) / (whole.misuse + kinds)
    honest = (count.honest + 1) / (whole.honest + kinds)
    return math.log2(misuse / honest)


def _whole(table: Table) -> Count:
    return Count(sum(each.misuse for each in table.values()), sum(each.honest for each in table.values()))


def _days(found: Iterable[Found]) -> str:
    longest = max(each.held for each in found) / timedelta(days=1)
    return next(name for below, name in _DAYS if longest < below)


def _customers(found: Iterable[Found]) -> str | None:
    most = max((each.customers for each in found if each.customers is not None), default=None)
    return None if most is None else next(name for below, name in _CUSTOMERS if most < below)


def _share(log2_odds: float) -> float:
    return 1 / (1 + 2 ** -min(max(log2_odds, -60), 60))


def _count(
    tables: dict[str, dict[str, list[int]]], table: str, name: str, *, is_misuse: bool, times: int
) -> None:
    tables.setdefault(table, {}).setdefault(name, [0, 0])[0 if is_misuse else 1] += times


def _tables(counted: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, Table]:
    return {
        family: {name: Count(*count) for name, count in sorted(table.items())}
        for family, table in sorted(counted.items())
    }
