"""What the job "judge installations" reads and writes: licenses, and installations as they are now.

Licenses are small and stay where they are; installations may be spread over many servers. So no
statement joins the two, and rows of installations are never locked before they are written: what was
judged is written where the row is still as it was, and judged again where it is not.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import UUID

from telemetry_server.enrich.verdict import Judgement
from telemetry_server.model import Grant, Lifecycle, ProductId, Verdict
from telemetry_server.store.database import Connection
from telemetry_server.store.ingest.grant_cache import grant_of
from telemetry_server.store.json_rows import as_json
from telemetry_server.store.queries import load
from telemetry_server.uuid7 import LOWEST

SQL = load(__name__)

FIRST_KEY: "KeyCursor" = (b"", LOWEST)
LAST_CHANGE: "LicenseCursor" = (datetime(9999, 1, 1, tzinfo=UTC), LOWEST)

KeyCursor: TypeAlias = tuple[bytes, UUID]
LicenseCursor: TypeAlias = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class RegisteredLicense:
    """A license: what it grants, and the hashes of its keys, under its own product's slug and all."""

    license_id: UUID
    version: str
    grant: Grant
    own_keys: frozenset[bytes]
    keys: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class SeatCount:
    """Number of reporting installations per key, product and environment."""

    key_hash: bytes
    product_id: ProductId
    environment: str
    count: int


@dataclass(frozen=True, slots=True)
class CurrentVerdict:
    """An installation: its newest claim, and the verdict it has now."""

    installation_id: UUID
    product_id: ProductId
    key_hash: bytes | None
    counted_key_hash: bytes | None
    license_status: str
    license_source: str
    environment: str
    life: Lifecycle
    client_address: str | None
    last_occurred_at: datetime
    last_received_at: datetime
    verdict: Verdict
    claim_mismatch: bool
    source_mismatch: bool
    license_id: UUID | None
    judged_at: datetime


@dataclass(frozen=True, slots=True)
class NewVerdict:
    """The verdict to be written; `settled`: the seats that the change touched are counted too."""

    current: CurrentVerdict
    judgement: Judgement
    license_id: UUID | None
    settled: bool

    @property
    def differs(self) -> bool:
        """Whether it changes anything."""
        was, said = self.current, self.judgement
        return (was.verdict, was.claim_mismatch, was.source_mismatch, was.license_id) != (
            said.verdict,
            said.claim_mismatch,
            said.source_mismatch,
            self.license_id,
        )


# ── licenses ────────────────────────────────────────────────────────────────────────────────


async def stale_licenses(connection: Connection, before: LicenseCursor, limit: int) -> list[LicenseCursor]:
    """Licenses that changed since their installations were judged, those that changed last first."""
    rows = await connection.fetch(SQL["stale_licenses"], *before, limit)
    return [(row["updated_at"], row["license_id"]) for row in rows]


async def expired_licenses(
    connection: Connection, since: datetime, until: datetime, after: LicenseCursor, limit: int
) -> list[LicenseCursor]:
    """Licenses that expired after `since` and until `until`, in the order in which they did."""
    rows = await connection.fetch(SQL["expired_licenses"], since, until, *after, limit)
    return [(row["expires_at"], row["license_id"]) for row in rows]


async def mark_expired(connection: Connection, license_ids: Sequence[UUID]) -> bool:
    """Marks licenses stale; False where one of them is being changed just now, and may not be."""
    stale: int = await connection.fetchval(SQL["mark_expired"], license_ids)
    return stale == len(license_ids)


async def licenses_of_keys(connection: Connection, hashes: Collection[bytes]) -> dict[bytes, UUID]:
    """Which license has which of these keys."""
    if not hashes:
        return {}
    rows = await connection.fetch(SQL["licenses_of_keys"], list(hashes))
    return {row["key_hash"]: row["license_id"] for row in rows}


async def licenses_to_judge_by(
    connection: Connection, license_ids: Collection[UUID]
) -> list[RegisteredLicense]:
    if not license_ids:
        return []
    return [
        RegisteredLicense(
            row["license_id"],
            row["version"],
            grant_of(row),
            frozenset(row["own_keys"]),
            frozenset(row["keys"]),
        )
        for row in await connection.fetch(SQL["licenses_to_judge_by"], list(license_ids))
    ]


async def write_seats(connection: Connection, counted: Sequence[tuple[UUID, int, bool]]) -> set[UUID]:
    """Of each license its seats, and whether all its installations are to be judged anew.

    Gives those it wrote; the others are being changed just now.
    """
    if not counted:
        return set()
    rows = await connection.fetch(SQL["count_seats"], *map(list, zip(*counted, strict=True)))
    return {row["license_id"] for row in rows}


async def settle_licenses(connection: Connection, judged: Iterable[tuple[RegisteredLicense, int]]) -> None:
    """Writes the seats of licenses, which are stale no more; but not of those that changed meanwhile."""
    rows = [(each.license_id, each.version, seats) for each, seats in judged]
    if rows:
        await connection.execute(SQL["settle_licenses"], *map(list, zip(*rows, strict=True)))


# ── installations ───────────────────────────────────────────────────────────────────────────


async def count_on_keys(connection: Connection, hashes: Collection[bytes]) -> list[SeatCount]:
    if not hashes:
        return []
    return [SeatCount(**row) for row in await connection.fetch(SQL["count_on_keys"], list(hashes))]


async def installations_due(connection: Connection, after: UUID, limit: int) -> list[CurrentVerdict]:
    """Those that changed, in the order of their ids."""
    return [CurrentVerdict(**row) for row in await connection.fetch(SQL["installations_due"], after, limit)]


async def installations_on_keys(
    connection: Connection, hashes: Collection[bytes], after: KeyCursor, limit: int
) -> list[CurrentVerdict]:
    """Those that have one of these keys, key by key."""
    if not hashes:
        return []
    rows = await connection.fetch(SQL["installations_on_keys"], list(hashes), *after, limit)
    return [CurrentVerdict(**row) for row in rows]


async def write_judgements(connection: Connection, verdicts: Sequence[NewVerdict], at: datetime) -> int:
    """Writes what is said at that moment; gives of how many. Who changed meanwhile is judged again."""
    if not verdicts:
        return 0
    text = as_json(map(_row, verdicts))
    async with connection.transaction():
        await connection.execute(SQL["plan_by_key"])
        written = {
            row["installation_id"] for row in await connection.fetch(SQL["write_judgements"], text, at)
        }
    changed = [r.current.installation_id for r in verdicts if r.current.installation_id not in written]
    if changed:
        await connection.execute(SQL["judge_again"], changed)
    return len(written)


def _row(verdict: NewVerdict) -> dict[str, object]:
    was, said = verdict.current, verdict.judgement
    return {
        "installation_id": was.installation_id,
        "seen_judged_at": was.judged_at,
        "seen_life": was.life,
        "seen_address": was.client_address,
        "seen_verdict": was.verdict,
        "verdict": said.verdict,
        "claim_mismatch": said.claim_mismatch,
        "source_mismatch": said.source_mismatch,
        "license_id": verdict.license_id,
        "settled": verdict.settled,
    }
