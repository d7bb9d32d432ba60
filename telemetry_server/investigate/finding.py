"""A run of the rules over one product: findings open, change and close, and join the cases of their owners.

Nothing else changes: no license, no installation, no grant. A finding stays in its case, also where people
moved it to another one; a new one joins the case of its owner.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from telemetry_server.investigate import store
from telemetry_server.investigate.owners import Owner, Registry
from telemetry_server.investigate.rules import Asked, Rule, SubjectKind
from telemetry_server.investigate.score import Found, Scale
from telemetry_server.investigate.store import Row, Seen
from telemetry_server.job_names import JobName
from telemetry_server.logs import Severity, log
from telemetry_server.store.database import Connection
from telemetry_server.uuid7 import uuid7

BY = f"job:{JobName.FIND_SUSPICIONS}"


async def find(connection: Connection, rules: Iterable[Rule], asked: Asked, *, is_full: bool) -> Counter[str]:
    """Runs the rules; returns how many findings were opened, updated and closed, and how many rules failed.

    A rule that fails, or whose findings cannot be kept, leaves its findings as they are. Each rule is a
    transaction.
    """
    counts = Counter(opened=0, updated=0, closed=0, failed=0)
    for rule in rules:
        try:
            seen = await store.run_rule(connection, rule, asked)
            async with store.transaction_of(connection, rule):
                kept = await _keep(connection, rule, seen, asked, is_full=is_full)
        except store.RuleFailed as error:
            log("rule failed", Severity.ERROR, rule=rule.name, error=error.detail)
            counts["failed"] += 1
        else:
            counts.update(kept)
    return counts


async def _keep(
    connection: Connection, rule: Rule, seen: Sequence[Seen], asked: Asked, *, is_full: bool
) -> dict[str, int]:
    known = await store.open_findings(connection, asked.product_id, rule.name)
    found = {each.subject_id: each for each in seen}
    fresh = [each for each in found.values() if each.subject_id not in known]
    moved = [
        (known[each.subject_id]["finding_id"], each)
        for each in found.values()
        if each.subject_id in known and _has_moved(known[each.subject_id], each, rule)
    ]
    missing = [row for subject, row in known.items() if subject not in found]
    if missing and not is_full:
        missing = await _looked_at(connection, missing, asked.since)
    await store.keep_findings(connection, asked.product_id, rule, fresh=fresh, moved=moved, now=asked.now)
    if missing:
        await store.close_findings(connection, [row["finding_id"] for row in missing], rule.closes, asked.now)
    return {"opened": len(fresh), "updated": len(moved), "closed": len(missing)}


async def _looked_at(connection: Connection, rows: Sequence[Row], since: datetime) -> list[Row]:
    """Those with news: an incremental run says nothing about the others."""
    named = {row["finding_id"]: {UUID(each) for each in row["evidence"]["installations"]} for row in rows}
    news = await store.with_news(connection, {each for ids in named.values() for each in ids}, since)
    return [row for row in rows if not named[row["finding_id"]].isdisjoint(news)]


def _has_moved(known: Row, seen: Seen, rule: Rule) -> bool:
    return known["family"] != rule.family or any(
        known[name] != getattr(seen, name)
        for name in ("strength", "first_seen", "last_seen", "unscored", "evidence")
    )


# ── cases ───────────────────────────────────────────────────────────────────────────────────


async def sort_into_cases(connection: Connection, asked: Asked, scale: Scale) -> int:
    """Adds new findings to cases, and scores all cases; returns the number of new cases. One transaction."""
    async with connection.transaction():
        findings = await store.findings_of_product(connection, asked.product_id)
        cases = {row["case_id"]: row for row in await store.cases_of_product(connection, asked.product_id)}
        fresh = [row for row in findings if row["case_id"] is None]
        opened, history = await _give_cases(connection, fresh, cases, asked)
        for row in await store.newly_closed(connection, asked.product_id, asked.now):
            closed = {"closed": {name: row[name] for name in ("rule", "subject_id", "closed_why")}}
            history.append((row["case_id"], closed))
        history += await _score(connection, asked, findings, cases, scale)
        await store.record_history(connection, history, BY, asked.now)
        return opened


async def owners_of(connection: Connection, findings: Sequence[Row]) -> list[Owner]:
    """Whose case each finding belongs to."""
    ids = {UUID(each) for row in findings for each in row["evidence"]["installations"]}
    copies = await store.copies(connection, ids)
    keys = {copy.key for copy in copies.values() if copy.key is not None}
    keys |= {row["subject_id"] for row in findings if row["subject_kind"] == SubjectKind.KEY}
    licenses = {copy.license_id for copy in copies.values() if copy.license_id is not None}
    licenses |= {UUID(row["subject_id"]) for row in findings if row["subject_kind"] == SubjectKind.LICENSE}
    registry: Registry = await store.registry_of(connection, licenses, keys)
    return [
        registry.of_finding(
            SubjectKind(row["subject_kind"]),
            row["subject_id"],
            [copies[each] for each in map(UUID, row["evidence"]["installations"]) if each in copies],
        )
        for row in findings
    ]


async def _give_cases(
    connection: Connection, fresh: Sequence[Row], cases: dict[UUID, Row], asked: Asked
) -> tuple[int, list[tuple[UUID, Mapping[str, Any]]]]:
    """Sets the case of each of these findings; opens missing ones. Returns their number, and history."""
    by_owner = {Owner(row["subject_kind"], row["subject_id"]): row for row in cases.values()}
    owners = await owners_of(connection, fresh)
    new = {owner: uuid7() for owner in dict.fromkeys(owners) if owner not in by_owner}
    names = await store.names_of(connection, new)
    opened: list[Row] = []
    history: list[tuple[UUID, Mapping[str, Any]]] = []
    for owner, case_id in new.items():
        of_owner = [row for row, each in zip(fresh, owners, strict=True) if each == owner]
        opened.append(
            {
                "case_id": case_id,
                "subject_kind": owner.kind,
                "subject_id": owner.id,
                "name": names[owner],
                "first_seen": min(row["first_seen"] for row in of_owner),
                "last_seen": max(row["last_seen"] for row in of_owner),
            }
        )
        by_owner[owner] = opened[-1] | {
            "state": "open",
            "wait_until": None,
            "merged_into": None,
            "score": None,
        }
        cases[case_id] = by_owner[owner]
        history.append((case_id, {"opened": {"subject": owner.kind, "id": owner.id}}))
    for row, owner in zip(fresh, owners, strict=True):
        row["case_id"] = _whole(by_owner[owner], cases)
        row["is_new"] = True
        history.append((row["case_id"], {"found": {"rule": row["rule"], "subject_id": row["subject_id"]}}))
    await store.open_cases(connection, asked.product_id, opened, asked.now)
    await store.add_findings(connection, [(row["case_id"], row["finding_id"]) for row in fresh], asked.now)
    return len(opened), history


def _whole(case: Row, cases: Mapping[UUID, Row]) -> UUID:
    """The case that it was merged into, or itself."""
    seen: set[UUID] = set()
    while case["merged_into"] in cases and case["case_id"] not in seen:
        seen.add(case["case_id"])
        case = cases[case["merged_into"]]
    found: UUID = case["case_id"]
    return found


async def _score(
    connection: Connection, asked: Asked, findings: Sequence[Row], cases: Mapping[UUID, Row], scale: Scale
) -> list[tuple[UUID, Mapping[str, Any]]]:
    """Writes scores, times, and the states of cases that wait or were decided. Returns history."""
    of_case: dict[UUID, list[Row]] = defaultdict(list)
    for row in findings:
        of_case[row["case_id"]].append(row)
    rows: list[Row] = []
    history: list[tuple[UUID, Mapping[str, Any]]] = []
    for case_id, case in cases.items():
        here = of_case.get(case_id, [])
        found = scale.score(as_found(row) for row in here if row["unscored"] is None)
        state = _state(case, here, asked.now)
        if state != case["state"]:
            history.append((case_id, {"state": {"before": case["state"], "after": state}}))
        rows.append(
            {
                "case_id": case_id,
                "score": round(found.share, 6) if here else 0.0,
                "waterfall": found.waterfall if here else {},
                "first_seen": min((row["first_seen"] for row in here), default=case["first_seen"]),
                "last_seen": max((row["last_seen"] for row in here), default=case["last_seen"]),
                "state": state,
            }
        )
    await store.update_cases(connection, rows)
    return history


def _state(case: Row, findings: Sequence[Row], now: datetime) -> str:
    """A case that waits is open again after its time, and a decided one after a new finding."""
    state: str = case["state"]
    if state == "waiting" and case["wait_until"] is not None and case["wait_until"] <= now:
        return "open"
    if state == "decided" and any(row.get("is_new") for row in findings):
        return "reopened"
    return state


def as_found(row: Row) -> Found:
    """A finding as the score takes it."""
    return Found(
        row["rule"], row["family"], row["last_seen"] - row["first_seen"], row["evidence"].get("customers")
    )
