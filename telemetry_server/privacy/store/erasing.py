"""Erasure: of an installation, or of a customer with all installations on its licenses.

    ask        a row of erasures, and of erased_installations: from then on nothing of them is written
    carry out  the counts are kept, the rows deleted, the entries of the audit log erased; certified then

A write that had begun before may store a ping a moment later: `sweep` deletes it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import orjson

from telemetry_server.errors import NotFound
from telemetry_server.job_names import JobName
from telemetry_server.model import Author, Customer
from telemetry_server.privacy.store import holds, requests
from telemetry_server.privacy.store.requests import RequestKind
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.access import audit
from telemetry_server.store.access.audit_log import number_entries
from telemetry_server.store.counts.erased_counts import keep_counts
from telemetry_server.store.counts.rollups import counting
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.queries import load
from telemetry_server.store.registry.customers import customer_by_id, customers_by_id
from telemetry_server.store.whole_words import pattern
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

INSTALLATION = "installation"
"""Who asked, if it was the installation itself."""
SWEPT = timedelta(minutes=10)
"""Longer than a write takes."""
_BY_INSTALLATION = (
    *("pings", "installation_days", "states", "changes", "forks", "lineage", "quarantine"),
    *("followed_installations", "support_grants", "installation_levels", "installation_facts"),
    *("restricted_installations", "case_rows"),
    "installations",
)
"""The tables with rows of an installation, in the order in which they are emptied."""
_AT_ONCE = 50
_TRIES = 50
_LONG_ENOUGH = 6  # a shorter account would be found in what is about others
_SECONDS = 3_600


class NoSuchErasure(NotFound):
    """There is no such erasure, or it is not carried out yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """An erasure that was asked for. `subject`: the id of the installation or the customer."""

    erasure_id: UUID
    asked_at: datetime
    asked_by: str
    reason: str | None
    subject_kind: str
    subject: str
    installations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Erasure):
    """An erasure in the list; the dates and the certificate are None until it is carried out.

    `held`: a legal hold keeps rows of it.
    """

    done_at: datetime | None
    backups_until: date | None
    certificate: str | None
    held: bool


async def ask(
    connection: Connection, subject: Subject, *, by: str, reason: str | None, now: datetime
) -> UUID:
    """Asks for an erasure; returns its id, that of the first one for an installation that asks again.

    Raises NoSuchCustomer. The rows are still there; see `carry_out`.
    """
    async with connection.transaction():
        if subject.kind == "installation":
            found: UUID | None = await connection.fetchval(SQL["erasure_of"], subject.id)
            if found is not None:
                return found
            copies = [subject.id]
        else:
            await customer_by_id(connection, subject.id)
            licenses = [row[0] for row in await connection.fetch(SQL["licenses_of_customer"], subject.id)]
            copies = [row[0] for row in await connection.fetch(SQL["copies_of"], licenses)]
        erasure_id = uuid7()
        row = erasure_id, now, by, reason or None, subject.kind, str(subject.id), len(copies)
        await connection.execute(SQL["ask"], *row)
        await connection.execute(SQL["refuse_from_now_on"], copies, erasure_id, now)
        await requests.ensure(connection, RequestKind.ERASURE, subject, by=Author(by, reason), now=now)
    return erasure_id


async def waiting(connection: Connection) -> list[Erasure]:
    """The erasures that are not carried out, the oldest first."""
    return [Erasure(**row) for row in await connection.fetch(SQL["waiting"])]


async def erasure(connection: Connection, erasure_id: UUID) -> Erasure:
    """Raises NoSuchErasure."""
    row = await connection.fetchrow(SQL["one"], erasure_id)
    if row is None:
        raise NoSuchErasure
    return Erasure(**row)


async def carry_out(connection: Connection, wanted: Erasure, now: datetime) -> dict[str, int]:
    """Erases what was asked for; returns the number of rows by table, of those that had any.

    In several transactions, safe to repeat. The pings must be counted up to the last one. What legal holds
    name is copied before. An installation that never reported is in no count and no text.
    """
    await holds.keep(connection, now)
    copies = [row[0] for row in await connection.fetch(SQL["installations_of"], wanted.erasure_id)]
    erased: dict[str, int] = {}
    if wanted.subject_kind == "customer" or await connection.fetchval(SQL["any_reported"], copies):
        await connection.execute(SQL["mark_begun"], wanted.erasure_id)
    elif not await connection.fetchval(SQL["was_begun"], wanted.erasure_id):
        return await _erase_unknown(connection, wanted, copies)
    for start in range(0, len(copies), _AT_ONCE):
        some = copies[start : start + _AT_ONCE]
        async with (
            counting(connection, JobName.ROLL_UP_PINGS),
            counting(connection, JobName.ROLL_UP_DAYS),
            counting(connection, JobName.COUNT_ACTIVE_COPIES),
            counting(connection, JobName.ROLL_UP_COHORTS),
        ):
            _add(erased, await _erase_copies(connection, some, now))
    _add(erased, await _erase_cases(connection, wanted, copies))
    words: list[str] = []
    if wanted.subject_kind == "customer":
        customer = await _customer(connection, UUID(wanted.subject))
        if customer is not None:
            known = customer.email or "", customer.account or ""
            words = [word for word in known if len(word) >= _LONG_ENOUGH]
            _add(erased, await _erase_customer(connection, customer.customer_id, now))
    subjects = [UUID(wanted.subject), *copies]
    await requests.forget_words(connection, subjects)
    ids = list(dict.fromkeys(map(str, subjects)))
    _add(erased, await _erase_mentions(connection, ids, words))
    _add(erased, await _erase_entries(connection, wanted, ids, words))
    return {table: rows for table, rows in erased.items() if rows}


async def sweep(connection: Connection, now: datetime) -> int:
    """Deletes what was stored of erased installations by writes that had begun before; returns the rows."""
    rows = await connection.fetch(SQL["asked_since"], now - SWEPT)
    copies = [row[0] for row in rows]
    found = 0
    for table in _BY_INSTALLATION if copies else ():
        found += await connection.fetchval(SQL[f"erase_{table}"], copies, timeout=_SECONDS)
    return found


async def certify(
    connection: Connection,
    wanted: Erasure,
    certificate: str,
    *,
    erased: Mapping[str, int],
    held: bool,
    now: datetime,
    backups_until: date,
) -> None:
    """Keeps the certificate, and records the erasure in the audit log: who asked, and not about whom."""
    rows = orjson.dumps(dict(erased)).decode()
    async with connection.transaction():
        values = wanted.erasure_id, now, backups_until, certificate, rows, held
        await connection.execute(SQL["certified"], *values)
        await connection.execute(SQL["installations_are_done"], wanted.erasure_id, now)
        by, subject = Author(wanted.asked_by), UUID(wanted.subject)
        await requests.answer_unanswered(
            connection, RequestKind.ERASURE, subject, by=by, now=now, erasure=wanted.erasure_id
        )
        entry = audit.Entry(
            actor=wanted.asked_by,
            action="erasure.done",
            subject_kind="erasure",
            subject_id=str(wanted.erasure_id),
            reason=wanted.reason,
            details={"of": wanted.subject_kind, "installations": wanted.installations},
        )
        await audit.record(connection, entry, now)


async def held_back(connection: Connection, erasure_id: UUID) -> list[str]:
    """What legal holds keep of an erasure, a line for each hold."""
    row = await connection.fetchrow(SQL["one"], erasure_id)
    copies = [each[0] for each in await connection.fetch(SQL["installations_of"], erasure_id)]
    return await holds.kept_for(connection, [UUID(row["subject"]), *copies])


async def once_held(connection: Connection) -> list[tuple[Erasure, dict[str, int]]]:
    """The erasures that were certified while a hold kept rows, with the rows that were deleted."""
    found = []
    for row in map(dict, await connection.fetch(SQL["once_held"])):
        rows = orjson.loads(row.pop("erased_rows"))
        found.append((Erasure(**row), rows))
    return found


async def newest(database: Connection | Pool, limit: int) -> list[Done]:
    return [Done(**row) for row in await database.fetch(SQL["newest"], limit)]


async def certificate_of(database: Connection | Pool, erasure_id: UUID) -> str:
    """Raises NoSuchErasure."""
    found: str | None = await database.fetchval(SQL["certificate"], erasure_id)
    if found is None:
        raise NoSuchErasure
    return found


# ── what is deleted ─────────────────────────────────────────────────────────────────────────


async def _erase_copies(connection: Connection, copies: Sequence[UUID], now: datetime) -> dict[str, int]:
    for copy in copies:
        await connection.execute(SQL["lock"], copy)
    addresses = [row[0] for row in await connection.fetch(SQL["addresses_of"], copies, timeout=_SECONDS)]
    licenses = [row[0] for row in await connection.fetch(SQL["licenses_of"], copies)]
    await keep_counts(connection, copies, now.astimezone(UTC).date())
    erased = {
        table: int(await connection.fetchval(SQL[f"erase_{table}"], copies, timeout=_SECONDS))
        for table in _BY_INSTALLATION
    }
    used = {row[0] for row in await connection.fetch(SQL["addresses_in_use"], addresses)}
    await connection.execute(SQL["remove_hostnames"], [each for each in addresses if each not in used])
    await connection.execute(SQL["recount_licenses"], licenses)
    subjects = [str(copy) for copy in copies]
    erased["clear_up_items"] = await connection.fetchval(SQL["erase_clear_up_items"], subjects)
    return erased


async def _erase_unknown(connection: Connection, wanted: Erasure, copies: Sequence[UUID]) -> dict[str, int]:
    """Erases an installation without a row in `installations` by its id alone."""
    await requests.forget_words(connection, copies)
    erased = {
        table: int(await connection.fetchval(SQL[f"erase_{table}"], copies)) for table in _BY_INSTALLATION
    }
    await _number_all(connection)
    rows = await connection.fetch(SQL["audit_leaves_of"], [wanted.subject])
    erased["audit_entries"] = await _erase_leaves(connection, wanted, [row[0] for row in rows])
    return {table: rows for table, rows in erased.items() if rows}


async def _customer(connection: Connection, customer_id: UUID) -> Customer | None:
    """None where an earlier run has erased it already."""
    return (await customers_by_id(connection, [customer_id])).get(customer_id)


async def _erase_customer(connection: Connection, customer_id: UUID, now: datetime) -> dict[str, int]:
    async with connection.transaction():
        licenses = [row[0] for row in await connection.fetch(SQL["licenses_of_customer"], customer_id)]
        changed = [str(each) for each in licenses]
        await connection.execute(SQL["erase_license_changes"], changed)
        return {
            "licenses": await connection.fetchval(SQL["release_licenses"], customer_id, now),
            "registry_changes": await connection.fetchval(SQL["erase_customer_changes"], str(customer_id)),
            "clear_up_items": await connection.fetchval(SQL["erase_license_items"], licenses),
            "customer_notes": await connection.fetchval(SQL["erase_customer_notes"], customer_id),
            "customers": await connection.fetchval(SQL["erase_customers"], customer_id),
        }


async def _erase_cases(connection: Connection, wanted: Erasure, copies: Sequence[UUID]) -> dict[str, int]:
    """Erases the findings about the subject, and the cases that are about nothing else."""
    ids = [wanted.subject, *map(str, copies)]
    if wanted.subject_kind == "customer":
        rows = await connection.fetch(SQL["licenses_of_customer"], UUID(wanted.subject))
        ids += [str(row[0]) for row in rows]
    async with connection.transaction():
        cases = [row[0] for row in await connection.fetch(SQL["cases_about"], ids)]
        erased = await connection.fetchval(SQL["erase_findings"], ids)
        await connection.execute(SQL["leave_findings"], ids)
        return {
            "findings": erased,
            "case_rows": await connection.fetchval(SQL["erase_rows_of_cases"], cases),
            "cases": await connection.fetchval(SQL["erase_cases"], cases),
        }


async def _erase_mentions(connection: Connection, ids: Sequence[str], words: Sequence[str]) -> dict[str, int]:
    """Erases the saved views and the notes on charts that name the subject."""
    patterns = _patterns(words)
    return {
        "saved_views": await connection.fetchval(SQL["erase_saved_views"], ids, patterns),
        "chart_notes": await connection.fetchval(SQL["erase_chart_notes"], ids, patterns),
    }


async def _erase_entries(
    connection: Connection, wanted: Erasure, ids: Sequence[str], words: Sequence[str]
) -> dict[str, int]:
    """Erases the entries of the audit log about the subject: the tree keeps their commitments."""
    await _number_all(connection)
    about = [*ids, *words], ids, _patterns(words)
    rows = await connection.fetch(SQL["audit_leaves"], *about, timeout=_SECONDS)
    return {"audit_entries": await _erase_leaves(connection, wanted, [row[0] for row in rows])}


async def _erase_leaves(connection: Connection, wanted: Erasure, leaves: list[int]) -> int:
    by = audit.Entry(
        actor=wanted.asked_by,
        action=audit.ERASE,
        reason="erasure",
        details={"erasure": str(wanted.erasure_id)},
    )
    return await audit.erase(connection, leaves, by)


def _patterns(words: Sequence[str]) -> list[str]:
    """What finds the words, also as the query of an address has them."""
    return [pattern(form) for form in dict.fromkeys([*words, *(quote(word, safe="") for word in words)])]


async def _number_all(connection: Connection) -> None:
    """Waits until the present entries have their leaves: a server may be numbering them."""
    for _ in range(_TRIES):
        await number_entries(connection)
        if not await connection.fetchval(SQL["any_without_leaf"]):
            return
        await asyncio.sleep(0.1)


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for table, rows in more.items():
        total[table] = total.get(table, 0) + rows
