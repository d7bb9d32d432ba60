"""What measuring and fitting read of a product: the findings and cases of the last run, and all owners."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from telemetry_server.investigate import store
from telemetry_server.investigate.finding import as_found, owners_of
from telemetry_server.investigate.measuring import Case, Finding, Truth, measure
from telemetry_server.investigate.owners import Owner
from telemetry_server.investigate.score import Found, Tally, naive_bayes, points, shipped_ratios
from telemetry_server.investigate.store import Row
from telemetry_server.model import Product
from telemetry_server.store.database import Connection


@dataclass(frozen=True, slots=True)
class Owned:
    """An owner's installations, and what was found of them."""

    installations: frozenset[str]
    found: list[Found]


async def measured(
    connection: Connection, fleets: Sequence[tuple[Product, Truth]], base_rate: float, share: float = 1
) -> dict[str, Any]:
    """The figures of the last run on these products, with that share of their misuse: the rest is left out.

    `base_rate`: that of the formulas not in use.
    """
    findings: list[Row] = []
    queue: list[Row] = []
    for product, _ in fleets:
        findings += await store.findings_of_product(connection, product.id)
        queue += await store.queue(connection, product.id)
    whole = Truth(
        misuse=[entry for _, each in fleets for entry in each.misuse],
        honest=[entry for _, each in fleets for entry in each.honest],
    )
    truth, left_out = whole.thinned(share)
    queue = [row for row in queue if left_out.isdisjoint(row["installations"])]
    scored = [
        row
        for row in findings
        if row["unscored"] is None and left_out.isdisjoint(row["evidence"]["installations"])
    ]
    of_case: Mapping[UUID, list[Row]] = defaultdict(list)
    for row in scored:
        of_case[row["case_id"]].append(row)

    def cases(score: Any) -> list[Case]:
        return [
            Case(case_id=str(row["case_id"]), score=score(row), installations=frozenset(row["installations"]))
            for row in queue
        ]

    def naive(row: Row) -> float:
        return naive_bayes(map(as_found, of_case[row["case_id"]]), shipped_ratios(), base_rate)

    formulas = {
        "joint patterns": cases(lambda row: row["score"]),
        "naive Bayes": cases(naive),
        "points": cases(lambda row: points(each["strength"] for each in of_case[row["case_id"]])),
    }
    interval = max(product.ping_interval_seconds for product, _ in fleets)
    return measure(truth, [_finding(row) for row in scored], formulas, timedelta(seconds=interval))


async def tally(connection: Connection, product_id: UUID, truth: Truth, into: Tally) -> None:
    """Adds the owners of a simulated product to the counts that ratios are made of."""
    guilty = truth.guilty
    for owned in (await _owned(connection, product_id)).values():
        into.add(owned.found, is_misuse=not owned.installations.isdisjoint(guilty))


async def _owned(connection: Connection, product_id: UUID) -> dict[Owner, Owned]:
    """All owners of a product's installations, also those of which nothing was found."""
    copies = await store.copies_of_product(connection, product_id)
    licenses = {copy.license_id for copy in copies.values() if copy.license_id is not None}
    registry = await store.registry_of(
        connection, licenses, {copy.key for copy in copies.values() if copy.key}
    )
    ids: dict[Owner, set[str]] = defaultdict(set)
    found: dict[Owner, list[Found]] = defaultdict(list)
    for installation_id, copy in copies.items():
        ids[registry.of_copy(copy)].add(str(installation_id))
    findings = [
        row for row in await store.findings_of_product(connection, product_id) if row["unscored"] is None
    ]
    for row, owner in zip(findings, await owners_of(connection, findings), strict=True):
        ids[owner] |= set(row["evidence"]["installations"])
        found[owner].append(as_found(row))
    return {owner: Owned(frozenset(ids[owner]), found[owner]) for owner in ids}


def _finding(row: Row) -> Finding:
    seen_at = row["evidence"].get("seen_at")
    return Finding(
        rule=row["rule"],
        installations=frozenset(row["evidence"]["installations"]),
        seen_at=None if seen_at is None else datetime.fromisoformat(seen_at),
    )
