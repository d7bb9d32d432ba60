"""PostgreSQL for the investigations: runs rules, and keeps findings and cases."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import orjson

from telemetry_server.errors import OperatorError
from telemetry_server.investigate.owners import Copy, License, Owner, Registry
from telemetry_server.investigate.rules import (
    FREE_ENVIRONMENTS,
    MOST_INSTALLATIONS,
    Asked,
    Network,
    Rule,
    arguments,
    bound,
)
from telemetry_server.store.database import Connection
from telemetry_server.store.json_rows import as_json
from telemetry_server.store.queries import load
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

RULE_SECONDS = 60
"""The time that a rule gets on a product; PostgreSQL ends it then."""

_REFUSED = (asyncpg.PostgresError, asyncpg.InterfaceError)
_NO_ROW = (AttributeError, LookupError, OverflowError, TypeError, ValueError)
"""What the rows of a rule raise that are not as a rule gives them."""

Row: TypeAlias = dict[str, Any]


class RuleFailed(OperatorError):
    """PostgreSQL refused a rule or its rows, or ended it after a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a rule saw of a subject. `unscored`: why it must not count; None: it counts."""

    subject_id: str
    strength: float
    first_seen: datetime
    last_seen: datetime
    evidence: Mapping[str, Any]
    unscored: str | None

    @property
    def installations(self) -> list[UUID]:
        return [UUID(each) for each in self.evidence["installations"]]


async def run_rule(
    connection: Connection, rule: Rule, asked: Asked, given: Mapping[str, float] | None = None
) -> list[Seen]:
    """What the rule sees now, by subject. It can write nothing. `given` replaces parameters.

    Raises RuleFailed or WrongRule.
    """
    values = arguments(rule, asked, given)
    try:
        async with connection.transaction(readonly=True):
            await connection.execute(SQL["limit_rule"], f"{RULE_SECONDS}s")
            rows = await connection.fetch(rule.statement, *values, timeout=2 * RULE_SECONDS)
        parameters = bound(rule, given or {})
        found = [_seen(rule, row, parameters) for row in rows]
    except (*_REFUSED, *_NO_ROW) as error:
        raise RuleFailed(f"The rule {rule.name}: {type(error).__name__}: {error}") from error
    return await _with_exemptions(connection, found, rule, asked)


@asynccontextmanager
async def transaction_of(connection: Connection, rule: Rule) -> AsyncIterator[None]:
    """A transaction that keeps all that a rule saw, or nothing: then it raises RuleFailed."""
    try:
        async with connection.transaction():
            yield
    except (*_REFUSED, *_NO_ROW) as error:
        raise RuleFailed(f"The rule {rule.name}: {type(error).__name__}: {error}") from error


def _seen(rule: Rule, row: Any, parameters: Mapping[str, float]) -> Seen:
    evidence = orjson.loads(row["evidence"])
    unscored = evidence.pop("unscored", None)
    if not isinstance(evidence.get("customers"), int | float | None):
        raise TypeError("the customers in its evidence are no number")
    ids = [str(UUID(each)) for each in evidence.get("installations") or () if each is not None]
    return Seen(
        subject_id=row["subject_id"],
        strength=float(row["strength"]),
        first_seen=row["first_seen"],
        last_seen=max(row["first_seen"], row["last_seen"]),
        evidence=evidence | {"installations": ids[:MOST_INSTALLATIONS], "parameters": dict(parameters)},
        unscored=unscored if rule.counts else "experimental",
    )


async def _with_exemptions(
    connection: Connection, found: Sequence[Seen], rule: Rule, asked: Asked
) -> list[Seen]:
    """Those that rest only on copies that count for nothing say why."""
    ids = {each for seen in found if rule.counts and seen.unscored is None for each in seen.installations}
    why = await exempt_copies(connection, ids, asked.allowed)
    result = []
    for seen in found:
        reasons = {why.get(each) for each in seen.installations}
        if seen.unscored is None and reasons and None not in reasons:
            result.append(replace(seen, unscored=min(map(str, reasons))))
        else:
            result.append(seen)
    return result


async def exempt_copies(
    connection: Connection, ids: Collection[UUID], allowed: Sequence[Network]
) -> dict[UUID, str]:
    """Why copies count for nothing, of those that do."""
    rows = await connection.fetch(SQL["exempt_copies"], list(ids), list(FREE_ENVIRONMENTS), list(allowed))
    return {UUID(bytes=row["installation_id"].bytes): row["why"] for row in rows}


# ── findings ────────────────────────────────────────────────────────────────────────────────


async def open_findings(connection: Connection, product_id: UUID, rule: str) -> dict[str, Row]:
    """The open findings of a rule by subject; `evidence` as a dictionary."""
    rows = await connection.fetch(SQL["open_findings"], product_id, rule)
    return {row["subject_id"]: _plain(row) for row in rows}


async def keep_findings(
    connection: Connection,
    product_id: UUID,
    rule: Rule,
    *,
    fresh: Iterable[Seen],
    moved: Iterable[tuple[UUID, Seen]],
    now: datetime,
) -> None:
    """Opens findings, and updates others."""
    if opened := [{"finding_id": uuid7()} | _columns(seen) for seen in fresh]:
        await connection.execute(
            SQL["open_new_findings"], as_json(opened), product_id, rule.name, rule.family, rule.subject, now
        )
    if changed := [{"finding_id": finding_id} | _columns(seen) for finding_id, seen in moved]:
        await connection.execute(SQL["update_findings"], as_json(changed), rule.family)


async def close_findings(
    connection: Connection, finding_ids: Sequence[UUID], why: str, now: datetime
) -> None:
    """Closes findings whose facts are gone."""
    await connection.execute(SQL["close_findings"], finding_ids, now, why)


async def close_rules(connection: Connection, running: Iterable[str], now: datetime) -> None:
    """Closes the findings of rules that no longer run."""
    await connection.execute(SQL["close_rules"], list(running), now)


async def with_news(connection: Connection, ids: Collection[UUID], since: datetime) -> set[UUID]:
    """Those of the installations that reported since then."""
    rows = await connection.fetch(SQL["copies_with_news"], list(ids), since)
    return {UUID(bytes=row["installation_id"].bytes) for row in rows}


async def forget_erased(connection: Connection) -> int:
    """Deletes the findings that name an erased installation, and the names of erased customers.

    Returns the number of these installations.
    """
    await connection.execute(SQL["forget_names"])
    named = [row["installation_id"] for row in await connection.fetch(SQL["named_installations"])]
    erased = [row["installation_id"] for row in await connection.fetch(SQL["erased_copies"], named)]
    if erased:
        await connection.execute(SQL["delete_findings_of"], erased)
    return len(erased)


async def fleet_size(connection: Connection, product_id: UUID) -> int:
    """The number of installations of a product."""
    size: int = await connection.fetchval(SQL["fleet_size"], product_id)
    return size


# ── owners ──────────────────────────────────────────────────────────────────────────────────


async def copies(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Copy]:
    """What installations belong to."""
    return _copies(await connection.fetch(SQL["copies"], list(ids)))


async def copies_of_product(connection: Connection, product_id: UUID) -> dict[UUID, Copy]:
    """What all installations of a product belong to."""
    return _copies(await connection.fetch(SQL["copies_of_product"], product_id))


async def registry_of(
    connection: Connection, license_ids: Collection[UUID], keys: Collection[str]
) -> Registry:
    """The licenses with these ids or keys."""
    rows = await connection.fetch(SQL["licenses"], list(license_ids), list(keys))
    found = [(License(row["license_id"], row["customer_id"]), row["keys"]) for row in rows]
    return Registry(
        by_id={each.license_id: each for each, _ in found},
        by_key={key: each for each, keys_of in found for key in keys_of},
    )


async def names_of(connection: Connection, owners: Iterable[Owner]) -> dict[Owner, str]:
    """What people call the subjects of cases."""
    owners = set(owners)
    ids = {kind: [UUID(each.id) for each in owners if each.kind == kind] for kind in ("customer", "license")}
    customers = await connection.fetch(SQL["names_of_customers"], ids["customer"])
    licenses = await connection.fetch(SQL["names_of_licenses"], ids["license"])
    names = {Owner("customer", str(row["customer_id"])): row["name"] for row in customers}
    names |= {Owner("license", str(row["license_id"])): f"License …{row['key_hint']}" for row in licenses}
    others = {"key": "Key {:.12}", "network": "Network {}", "installation": "Installation {}"}
    return {owner: names.get(owner) or others.get(owner.kind, "{}").format(owner.id) for owner in owners}


# ── cases ───────────────────────────────────────────────────────────────────────────────────


async def findings_of_product(connection: Connection, product_id: UUID) -> list[Row]:
    """The open findings, and the case of each (None: it has none yet); `evidence` as a dictionary."""
    return [_plain(row) for row in await connection.fetch(SQL["findings_of_product"], product_id)]


async def cases_of_product(connection: Connection, product_id: UUID) -> list[Row]:
    """All cases; `waterfall` as a dictionary."""
    return [_plain(row) for row in await connection.fetch(SQL["cases_of_product"], product_id)]


async def newly_closed(connection: Connection, product_id: UUID, now: datetime) -> list[Row]:
    """The findings that were closed in the run of that time, and their cases."""
    return [dict(row) for row in await connection.fetch(SQL["newly_closed"], product_id, now)]


async def open_cases(connection: Connection, product_id: UUID, rows: Sequence[Row], now: datetime) -> None:
    await connection.execute(SQL["open_cases"], as_json(rows), product_id, now)


async def add_findings(connection: Connection, pairs: Iterable[tuple[UUID, UUID]], now: datetime) -> None:
    """Adds findings to cases: pairs of a case and a finding."""
    rows = [{"case_id": case_id, "finding_id": finding_id} for case_id, finding_id in pairs]
    await connection.execute(SQL["add_findings"], as_json(rows), now)


async def update_cases(connection: Connection, rows: Sequence[Row]) -> None:
    await connection.execute(SQL["update_cases"], as_json(rows))


async def record_history(
    connection: Connection, what: Iterable[tuple[UUID, Mapping[str, Any]]], by: str, now: datetime
) -> None:
    """Records what happened to cases."""
    what = list(what)
    ids = sorted(uuid7() for _ in what)  # in the order of what happened
    rows = [
        {"history_id": history_id, "case_id": case_id, "what": each}
        for history_id, (case_id, each) in zip(ids, what, strict=True)
    ]
    await connection.execute(SQL["record_history"], as_json(rows), now, by)


async def queue(connection: Connection, product_id: UUID) -> list[Row]:
    """The cases with open findings by score; `rules` by name, `installations` as texts."""
    rows = [_plain(row) for row in await connection.fetch(SQL["queue"], product_id)]
    for row in rows:
        row["installations"] = sorted({each for some in row["installations"] for each in some})
    return rows


def _columns(seen: Seen) -> Row:
    return {name: getattr(seen, name) for name in Seen.__slots__}


def _copies(rows: Iterable[Any]) -> dict[UUID, Copy]:
    found = (Copy(**row) for row in rows)
    return {UUID(bytes=copy.installation_id.bytes): copy for copy in found}


_JSON = ("evidence", "waterfall", "installations")


def _plain(row: Any) -> Row:
    return {name: orjson.loads(value) if name in _JSON else value for name, value in row.items()}
