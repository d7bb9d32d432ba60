"""The numbers of the overview: active copies now, by any dimension, and what is to clear up among them.

Active are copies that are not lost. Each number comes with the filter of its rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.check.filters.terms import EVERYTHING, Filter, term
from telemetry_server.show.scope import Scope
from telemetry_server.show.verdict_groups import GROUPS, NOT_COVERED, NOT_COVERED_TERM, VerdictGroup
from telemetry_server.store.counts import counting
from telemetry_server.store.counts.counting import Question
from telemetry_server.store.database import Pool

ACTIVE = "life!=lost"
_MOST = 50


@dataclass(frozen=True, slots=True)
class Copies:
    """Active copies by verdict, and all that are known."""

    known: int
    by_verdict: Mapping[str, int] = field(default_factory=dict)

    @property
    def active(self) -> int:
        return sum(self.by_verdict.values())

    @property
    def uncovered(self) -> int:
        return sum(self.of(group) for group in NOT_COVERED)

    def of(self, group: VerdictGroup) -> int:
        return sum(self.by_verdict.get(verdict, 0) for verdict in group.verdicts)

    @property
    def by_group(self) -> list[tuple[VerdictGroup, int]]:
        return [(group, self.of(group)) for group in GROUPS]


@dataclass(frozen=True, slots=True)
class Todo:
    """A row of what is to clear up: copies with one verdict, or another finding."""

    group: VerdictGroup
    what: str
    count: int
    noun: str
    href: str


async def copies(pool: Pool, scope: Scope) -> Copies | None:
    """None: they are not counted yet."""
    if not _is_known(scope):
        return Copies(0)
    known = await counting.present(pool, _question("life", EVERYTHING, scope))
    if known.rows is None:
        return None
    by_verdict = await by_value(pool, "verdict", "", scope)
    return Copies(
        sum(row["installations"] for row in known.rows),
        {value: count for value, count in by_verdict if value is not None},
    )


async def by_value(pool: Pool, by: str, wanted: str, scope: Scope) -> list[tuple[str | None, int]]:
    """Active copies by value, the most frequent first; None: the rare values together."""
    if not _is_known(scope):
        return []
    asked = parse_filter(" ".join(filter(None, (ACTIVE, wanted))))
    found = await counting.present(pool, _question(by, asked, scope))
    return [(row["value"], row["installations"]) for row in found.rows or []]


def todos(scope: Scope, found: Copies, contradicting: int, forked: int) -> list[Todo]:
    """What is to clear up, the worst first."""
    unknown = next(group for group in NOT_COVERED if group.name == "unknown")
    rows = [
        Todo(
            group,
            verdict.replace("_", " "),
            count,
            "copies",
            scope.rows(filter=f"{ACTIVE} verdict={verdict}"),
        )
        for name in _WORST_FIRST
        for group in NOT_COVERED
        if group.name == name
        for verdict in group.verdicts
        if (count := found.by_verdict.get(verdict, 0))
    ]
    if forked:
        href = scope.rows(filter=f"{ACTIVE} attention=forked")
        rows.append(Todo(unknown, "shared identity", forked, "copies", href))
    if contradicting:
        href = scope.rows(filter=f"{ACTIVE} claim_mismatch=true")
        rows.append(Todo(unknown, "claims that contradict the registry", contradicting, "copies", href))
    return rows


_WORST_FIRST: Sequence[str] = ("wrong", "excess", "lapsed", "unknown", "none")


def _is_known(scope: Scope) -> bool:
    """Whether there is the chosen product."""
    return scope.product is None or any(one["slug"] == scope.product for one in scope.products)


def _question(by: str, wanted: Filter, scope: Scope) -> Question:
    """About the products that the viewer may see, or the chosen one."""
    if scope.product is not None:
        wanted += term(INSTALLATIONS["product"], "=", scope.product)
    return Question(by, wanted, scope.now, _MOST)


def uncovered_filter() -> str:
    """The filter of the copies that no license covers."""
    return f"{ACTIVE} {NOT_COVERED_TERM}"
