"""The facts that are to be cleared up: doubts about licenses, keys and installations. Reads only."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from telemetry_server.model import Verdict
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.store.registry.license_lists import SOON

SQL = load(__name__)

FORKS_COUNT_FOR = timedelta(days=90)
"""How long a fork is to be cleared up: the row is closed that long after the last one."""


class ClearUpKind(StrEnum):
    """The kinds of doubt, the worst first."""

    REVOKED_IN_USE = "revoked_in_use"
    OVER_SEATS = "over_seats"
    UNKNOWN_KEY = "unknown_key"
    SHARED_IDENTITY = "shared_identity"
    WRONG_PLACE = "wrong_place"
    SUSPENDED_IN_USE = "suspended_in_use"
    EXPIRED_IN_USE = "expired_in_use"
    WRONG_SOURCE = "wrong_source"
    EXPIRING_IN_USE = "expiring_in_use"


OF_VERDICT: Mapping[Verdict, ClearUpKind] = {
    Verdict.REVOKED: ClearUpKind.REVOKED_IN_USE,
    Verdict.OVER_SEATS: ClearUpKind.OVER_SEATS,
    Verdict.WRONG_PLACE: ClearUpKind.WRONG_PLACE,
    Verdict.SUSPENDED: ClearUpKind.SUSPENDED_IN_USE,
    Verdict.EXPIRED: ClearUpKind.EXPIRED_IN_USE,
}


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


async def doubts(connection: Connection, now: datetime) -> list[Doubt]:
    """All facts that are to be cleared up now."""
    return [
        each
        for found in (_by_verdict, _by_source, _by_key, _by_fork, _by_expiry)
        async for each in found(connection, now)
    ]


async def copies_with_key(connection: Connection, subject: str, limit: int) -> list[dict[str, Any]]:
    """The copies that use an unknown key, of the subject of its doubt."""
    product, _, key_hash = subject.partition("/")
    rows = await connection.fetch(SQL["copies_with_key"], UUID(product), bytes.fromhex(key_hash), limit)
    return [dict(row) for row in rows]


def _of_license(row: Any, kind: ClearUpKind, **evidence: Any) -> Doubt:
    return Doubt(
        kind=kind,
        subject=str(row["license_id"]),
        product_id=row["product_id"],
        license_id=row["license_id"],
        size=row["copies"],
        evidence={"countries": row["countries"], "networks": row["networks"]} | evidence,
        first_at=row["first_at"],
        last_at=row["last_at"],
    )


async def _by_verdict(connection: Connection, _: datetime) -> AsyncIterator[Doubt]:
    for row in await connection.fetch(SQL["facts_by_verdict"], [verdict.value for verdict in OF_VERDICT]):
        yield _of_license(row, OF_VERDICT[Verdict(row["verdict"])])


async def _by_source(connection: Connection, _: datetime) -> AsyncIterator[Doubt]:
    for row in await connection.fetch(SQL["facts_by_source"]):
        yield _of_license(row, ClearUpKind.WRONG_SOURCE, claimed=row["claimed"])


async def _by_key(connection: Connection, _: datetime) -> AsyncIterator[Doubt]:
    for row in await connection.fetch(SQL["facts_by_key"]):
        yield Doubt(
            kind=ClearUpKind.UNKNOWN_KEY,
            subject=f"{row['product_id']}/{row['key_hash']}",
            product_id=row["product_id"],
            license_id=None,
            size=row["copies"],
            evidence={
                "countries": row["countries"],
                "networks": row["networks"],
                "key_hint": row["key_hint"],
            },
            first_at=row["first_at"],
            last_at=row["last_at"],
        )


async def _by_fork(connection: Connection, now: datetime) -> AsyncIterator[Doubt]:
    for row in await connection.fetch(SQL["facts_by_fork"], now - FORKS_COUNT_FOR):
        yield Doubt(
            kind=ClearUpKind.SHARED_IDENTITY,
            subject=str(row["installation_id"]),
            product_id=row["product_id"],
            license_id=row["license_id"] and UUID(row["license_id"]),
            size=row["forks"],
            evidence={"addresses": row["addresses"]},
            first_at=row["first_at"],
            last_at=row["last_at"],
        )


async def _by_expiry(connection: Connection, now: datetime) -> AsyncIterator[Doubt]:
    for row in await connection.fetch(SQL["facts_by_expiry"], now, now + SOON):
        yield Doubt(
            kind=ClearUpKind.EXPIRING_IN_USE,
            subject=str(row["license_id"]),
            product_id=row["product_id"],
            license_id=row["license_id"],
            size=row["seats_used"],
            evidence={"expires_at": row["expires_at"].isoformat()},
            first_at=max(row["created_at"], row["expires_at"] - SOON),
            last_at=max(row["updated_at"], row["expires_at"] - SOON),
        )
