"""The facts that are to be cleared up: doubts about licenses, keys and installations. Reads only."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from telemetry_server.enrich.verdict import COVERED
from telemetry_server.model import Verdict
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.store.registry.license_lists import SOON

SQL = load(__name__)

_AT_ONCE = 500
FORKS_COUNT_FOR = timedelta(days=90)
"""How long a fork is to be cleared up: the row is closed that long after the last one."""


class ClearUpKind(StrEnum):
    """The kinds of doubt, the worst first; those of verdicts in the order of WORST_FIRST."""

    REVOKED_IN_USE = "revoked_in_use"
    WRONG_PRODUCT = "wrong_product"
    OVER_SEATS = "over_seats"
    UNKNOWN_KEY = "unknown_key"
    SHARED_IDENTITY = "shared_identity"
    WRONG_PLACE = "wrong_place"
    SUSPENDED_IN_USE = "suspended_in_use"
    EXPIRED_IN_USE = "expired_in_use"
    NO_KEY = "no_key"
    WRONG_CLAIM = "wrong_claim"
    WRONG_SOURCE = "wrong_source"
    EXPIRING_IN_USE = "expiring_in_use"


OF_VERDICT: Mapping[Verdict, ClearUpKind] = {
    Verdict.REVOKED: ClearUpKind.REVOKED_IN_USE,
    Verdict.WRONG_PRODUCT: ClearUpKind.WRONG_PRODUCT,
    Verdict.OVER_SEATS: ClearUpKind.OVER_SEATS,
    Verdict.WRONG_PLACE: ClearUpKind.WRONG_PLACE,
    Verdict.SUSPENDED: ClearUpKind.SUSPENDED_IN_USE,
    Verdict.EXPIRED: ClearUpKind.EXPIRED_IN_USE,
}
"""The doubts about a license by the verdict of its copies."""

VERDICTS: Mapping[ClearUpKind, Verdict] = {kind: verdict for verdict, kind in OF_VERDICT.items()} | {
    ClearUpKind.UNKNOWN_KEY: Verdict.UNKNOWN_KEY,
    ClearUpKind.NO_KEY: Verdict.NO_KEY,
}
"""The verdict of the copies that a doubt is about: each that is not covered has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A fact to be cleared up; `evidence` holds counts and words, no address and no key."""

    kind: ClearUpKind
    subject: str
    product_id: UUID
    license_id: UUID | None
    size: int
    evidence: Mapping[str, Any]
    first_at: datetime
    last_at: datetime


async def doubts(connection: Connection, kind: ClearUpKind, now: datetime) -> AsyncIterator[Doubt]:
    """The facts of one kind that are to be cleared up now, by subject. Call within a transaction.

    They are read as they are asked for: any number of them takes little memory.
    """
    make: Callable[[Any], Doubt] = _of_license(kind)
    arguments: tuple[Any, ...]
    match kind:
        case ClearUpKind.UNKNOWN_KEY:
            name, arguments, make = "facts_by_key", (), _of_key
        case ClearUpKind.SHARED_IDENTITY:
            name, arguments, make = "facts_by_fork", (now - FORKS_COUNT_FOR,), _of_fork
        case ClearUpKind.EXPIRING_IN_USE:
            name, arguments, make = "facts_by_expiry", (now, now + SOON), _of_expiry
        case ClearUpKind.NO_KEY:
            name, arguments = "facts_without_key", ()
        case ClearUpKind.WRONG_CLAIM:
            name, arguments = "facts_by_claim", (sorted(COVERED),)
        case ClearUpKind.WRONG_SOURCE:
            name, arguments = "facts_by_source", ()
        case _:
            name, arguments = "facts_by_verdict", (VERDICTS[kind].value,)
    async for row in connection.cursor(SQL[name], *arguments, prefetch=_AT_ONCE):
        yield make(row)


async def copies_with_key(connection: Connection, subject: str, limit: int) -> list[dict[str, Any]]:
    """The copies that use an unknown key, of the subject of its doubt."""
    product, _, key_hash = subject.partition("/")
    rows = await connection.fetch(SQL["copies_with_key"], UUID(product), bytes.fromhex(key_hash), limit)
    return [dict(row) for row in rows]


def subject_of_key(product_id: UUID, key_hash: str) -> str:
    """The subject of the doubt about an unknown key, by its hash in hexadecimal."""
    return f"{product_id}/{key_hash}"


def _of_license(kind: ClearUpKind) -> Callable[[Any], Doubt]:
    def made(row: Any) -> Doubt:
        names = ("countries", "networks", "claims", "claimed")
        return Doubt(
            kind=kind,
            subject=row["subject"],
            product_id=row["product_id"],
            license_id=row["license_id"],
            size=row["copies"],
            evidence={name: row[name] for name in names if name in row.keys()},  # noqa: SIM118  a record has no "in"
            first_at=row["first_at"],
            last_at=row["last_at"],
        )

    return made


def _of_key(row: Any) -> Doubt:
    return Doubt(
        kind=ClearUpKind.UNKNOWN_KEY,
        subject=subject_of_key(row["product_id"], row["key_hash"]),
        product_id=row["product_id"],
        license_id=None,
        size=row["copies"],
        evidence={name: row[name] for name in ("countries", "networks", "claims", "key_hint")},
        first_at=row["first_at"],
        last_at=row["last_at"],
    )


def _of_fork(row: Any) -> Doubt:
    return Doubt(
        kind=ClearUpKind.SHARED_IDENTITY,
        subject=str(row["installation_id"]),
        product_id=row["product_id"],
        license_id=row["license_id"] and UUID(row["license_id"]),
        size=row["forks"],
        evidence={"addresses": row["addresses"]},
        first_at=row["first_at"],
        last_at=row["last_at"],
    )


def _of_expiry(row: Any) -> Doubt:
    return Doubt(
        kind=ClearUpKind.EXPIRING_IN_USE,
        subject=str(row["license_id"]),
        product_id=row["product_id"],
        license_id=row["license_id"],
        size=row["seats_used"],
        evidence={"expires_at": row["expires_at"].isoformat()},
        first_at=max(row["created_at"], row["expires_at"] - SOON),
        last_at=max(row["updated_at"], row["expires_at"] - SOON),
    )
