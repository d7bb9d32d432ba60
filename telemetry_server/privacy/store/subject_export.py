"""Access: everything that is stored about an installation, or about a customer with all installations."""

import secrets
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson

from telemetry_server.errors import NotFound, Unprocessable
from telemetry_server.model import Author
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.store.registry.customers import customer_by_id

SQL = load(__name__)

OF_INSTALLATIONS = (
    *("installations", "installation_facts", "states", "pings", "installation_days", "changes", "forks"),
    *("lineage", "quarantine", "followed_installations", "support_grants", "installation_levels"),
    *("erased_installations", "restricted_installations", "case_rows"),
)
"""Read by the ids of installations."""
OF_CUSTOMER = ("customers", "customer_notes", "customer_levels", "access_links")
"""Read by the id of the customer."""
OF_LICENSES = ("licenses", "license_keys", "shop_fields")
"""Read by the ids of the customer's licenses."""
BY_SUBJECT = (
    *("registry_changes", "clear_up_items", "clear_up_changes", "findings", "cases", "audit_entries"),
    *("erasures", "subject_requests", "subject_request_steps", "holds", "held_rows", "restrictions"),
    *("disclosures", "case_findings", "case_history", "case_attachments", "case_holds", "case_handovers"),
    "case_pauses",
)
"""Read by all of these ids, as text."""
TABLES = (*OF_CUSTOMER, *OF_LICENSES, *OF_INSTALLATIONS, "hostnames", *BY_SUBJECT, "notices")
UNREVIEWED = frozenset(
    {
        *("cases", "findings", "case_findings", "case_history", "case_attachments", "case_holds"),
        *("case_handovers", "case_pauses", "holds", "held_rows", "disclosures"),
    }
)
"""Left out where no person reviews the answer: they tell the subject of an investigation or a claim."""
MOST_ROWS = 200_000
"""The most rows of an answer, which is held in memory."""
LINK_DAYS = 7
_SECONDS = 600
_AT_ONCE = 1_000


class TooManyRows(Unprocessable):
    """Too many rows for an answer. Ask the privacy team: telemetry-server privacy access has no limit."""


class NoSuchLink(NotFound):
    """This link was used already, or has run out. Ask for a new one."""


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids by which the rows of a subject are found."""

    customer: UUID | None
    licenses: list[UUID]
    installations: list[UUID]
    addresses: list[Any]
    notices: list[str]

    @property
    def as_text(self) -> list[str]:
        known = [*([] if self.customer is None else [self.customer]), *self.licenses, *self.installations]
        return [str(each) for each in known]

    def of(self, table: str) -> Any:
        """The parameter of the statement of that table; None: the subject has no such rows."""
        if table in OF_CUSTOMER:
            return self.customer
        if table in OF_LICENSES:
            return self.licenses
        if table in BY_SUBJECT:
            return self.as_text
        return {"hostnames": self.addresses, "notices": self.notices}.get(table, self.installations)


async def ids_of(connection: Connection, subject: Subject) -> Ids:
    """Raises NoSuchCustomer."""
    customer, licenses, copies = None, [], [subject.id]
    if subject.kind == "customer":
        customer = (await customer_by_id(connection, subject.id)).customer_id
        licenses = [row[0] for row in await connection.fetch(SQL["licenses_of"], customer)]
        copies = [row[0] for row in await connection.fetch(SQL["installations_on"], licenses)]
    addresses = [row[0] for row in await connection.fetch(SQL["addresses"], copies, timeout=_SECONDS)]
    notices = [row[0] for row in await connection.fetch(SQL["notices_named"], copies)]
    return Ids(customer, licenses, copies, addresses, notices)


async def rows_of(connection: Connection, table: str, ids: Ids) -> AsyncIterator[dict[str, Any]]:
    """The rows of the subject in a table, one by one. Call it in a transaction."""
    wanted = ids.of(table)
    if wanted is None:
        return
    async for row in connection.cursor(SQL[table], wanted, prefetch=_AT_ONCE, timeout=_SECONDS):
        yield orjson.loads(row["row"])


async def whole(
    connection: Connection,
    subject: Subject,
    *,
    most: int | None = MOST_ROWS,
    without: Collection[str] = (),
) -> dict[str, list[dict[str, Any]]]:
    """All rows by table, of one snapshot, but those of the tables `without`.

    Raises NoSuchCustomer, or TooManyRows for more than `most`.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        ids, count = await ids_of(connection, subject), 0
        for table in (each for each in TABLES if each not in without):
            found[table] = []
            async for row in rows_of(connection, table, ids):
                count += 1
                if most is not None and count > most:
                    raise TooManyRows
                found[table].append(row)
    return found


async def record_access(
    connection: Connection, subject: Subject, *, by: str, network: str | None = None, **details: Any
) -> None:
    """Records who got the data of a subject, before it leaves."""
    entry = audit.Entry(
        actor=by,
        action=f"{subject.kind}.export",
        subject_kind=subject.kind,
        subject_id=str(subject.id),
        network=network,
        details=details,
    )
    await audit.record(connection, entry)


# ── the link of a customer ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class UsedLink:
    """Whose data a link gives. `portable`: as one JSON file; `recipient`: to another controller."""

    subject: Subject
    portable: bool
    recipient: str | None


async def make_link(
    connection: Connection,
    customer_id: UUID,
    *,
    by: Author,
    now: datetime,
    portable: bool = False,
    recipient: str | None = None,
) -> str:
    """The secret of a new link, valid for LINK_DAYS and for one download. Raises NoSuchCustomer."""
    secret = secrets.token_urlsafe(32)
    who = by.recorded_as or by.actor
    async with connection.transaction():
        await customer_by_id(connection, customer_id)
        expires = now + timedelta(days=LINK_DAYS)
        portable = portable or recipient is not None
        values = _digest(secret), customer_id, now, who, expires, portable, recipient
        await connection.execute(SQL["add_link"], *values)
        entry = audit.Entry(
            actor=who,
            action="customer.link",
            subject_kind="customer",
            subject_id=str(customer_id),
            network=by.network,
            reason=by.reason,
        )
        await audit.record(connection, entry, now)
    return secret


async def customer_of_link(connection: Connection, secret: str, now: datetime, *, use: bool) -> UsedLink:
    """What a link gives; with `use`, it is used up. Raises NoSuchLink."""
    statement = SQL["use_link" if use else "open_link"]
    found = await connection.fetchrow(statement, _digest(secret), now)
    if found is None:
        raise NoSuchLink
    return UsedLink(Subject("customer", found["customer_id"]), found["portable"], found["recipient"])


async def forget_links(connection: Connection, before: datetime) -> int:
    """Removes links that ran out before then."""
    return int(await connection.fetchval(SQL["forget_links"], before))


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()
