"""What the job "judge installations" reads and writes: licenses, and the present state of installations.

Installations may be distributed over many servers, and licenses are not. So no statement joins the two, and
installations are not locked before they are written: a verdict is written if the row has not changed since it
was read; otherwise the installation is judged again.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import UUID

from telemetry_server.enrich.verdict import Judgement
from telemetry_server.model import Grant, Lifecycle, ProductId, Verdict
from telemetry_server.store.database import Connection, lock_in_order
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
    """A license: what it grants, and the hashes of its key: under the slug of its product, and under any."""

    license_id: UUID
    version: str
    grant: Grant
    own_keys: Sequence[bytes]
    keys: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class SeatCount:
    """Number of reporting installations per key, product and environment."""

    key_hash: bytes
    product_id: ProductId
    environment: str
    count: int


@dataclass(frozen=True, slots=True)
class CurrentVerdict:
    """An installation: its newest claim, and its present verdict."""

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
    """A verdict to be written; `settled`: the seats of the licenses it concerns are counted too."""

    current: CurrentVerdict
    judgement: Judgement
    license_id: UUID | None
    settled: bool

    @property
    def differs(self) -> bool:
        """Whether it differs from the present one."""
        was, new = self.current, self.judgement
        before = was.verdict, was.claim_mismatch, was.source_mismatch, was.license_id
        return before != (new.verdict, new.claim_mismatch, new.source_mismatch, self.license_id)


# ── licenses ────────────────────────────────────────────────────────────────────────────────


async def stale_licenses(connection: Connection, before: LicenseCursor, limit: int) -> list[LicenseCursor]:
    """Licenses that changed since their installations were judged, the most recent change first."""
    rows = await connection.fetch(SQL["stale_licenses"], *before, limit)
    return [(row["updated_at"], row["license_id"]) for row in rows]


async def expired_licenses(
    connection: Connection, since: datetime, until: datetime, after: LicenseCursor, limit: int
) -> list[LicenseCursor]:
    """Licenses that expired after `since` and until `until`, in the order of their expiry."""
    rows = await connection.fetch(SQL["expired_licenses"], since, until, *after, limit)
    return [(row["expires_at"], row["license_id"]) for row in rows]


async def mark_expired(connection: Connection, license_ids: Sequence[UUID]) -> bool:
    """Marks licenses stale; False where one of them is locked by a change in progress, and may not be."""
    stale: int = await connection.fetchval(SQL["mark_expired"], license_ids)
    return stale == len(license_ids)


async def licenses_of_keys(connection: Connection, hashes: Collection[bytes]) -> dict[bytes, UUID]:
    """The license of each of these keys that has one."""
    if not hashes:
        return {}
    rows = await connection.fetch(SQL["licenses_of_keys"], list(hashes))
    return {row["key_hash"]: row["license_id"] for row in rows}


async def licenses_to_judge_by(
    connection: Connection, license_ids: Collection[UUID]
) -> list[RegisteredLicense]:
    if not license_ids:
        return []
    rows = await connection.fetch(SQL["licenses_to_judge_by"], list(license_ids))
    return [
        RegisteredLicense(row["license_id"], row["version"], grant_of(row), row["own_keys"], row["keys"])
        for row in rows
    ]


async def write_seats(connection: Connection, counted: Sequence[tuple[UUID, int, bool]]) -> set[UUID]:
    """Writes (license, seats in use, whether all its installations are to be judged again).

    Returns the licenses it wrote; the others are locked by a change in progress.
    """
    if not counted:
        return set()
    rows = await connection.fetch(SQL["count_seats"], *map(list, zip(*counted, strict=True)))
    return {row["license_id"] for row in rows}


async def settle_licenses(connection: Connection, judged: Iterable[tuple[RegisteredLicense, int]]) -> None:
    """Writes the seats of licenses, and marks them as no longer stale, unless they changed meanwhile."""
    rows = [(each.license_id, each.version, seats) for each, seats in judged]
    if rows:
        await connection.execute(SQL["settle_licenses"], *map(list, zip(*rows, strict=True)))


# ── installations ───────────────────────────────────────────────────────────────────────────


async def count_on_keys(connection: Connection, hashes: Collection[bytes]) -> list[SeatCount]:
    if not hashes:
        return []
    return [SeatCount(**row) for row in await connection.fetch(SQL["count_on_keys"], list(hashes))]


async def installations_due(connection: Connection, after: UUID, limit: int) -> list[CurrentVerdict]:
    """Installations that changed, in the order of their ids."""
    return [CurrentVerdict(**row) for row in await connection.fetch(SQL["installations_due"], after, limit)]


async def installations_on_keys(
    connection: Connection, hashes: Collection[bytes], after: KeyCursor, limit: int
) -> list[CurrentVerdict]:
    """Installations that have one of these keys, in the order of keys and ids."""
    if not hashes:
        return []
    rows = await connection.fetch(SQL["installations_on_keys"], list(hashes), *after, limit)
    return [CurrentVerdict(**row) for row in rows]


async def write_judgements(connection: Connection, verdicts: Sequence[NewVerdict], at: datetime) -> int:
    """Writes verdicts of the moment `at`; returns their number. What changed meanwhile is judged again."""
    if not verdicts:
        return 0
    text = as_json(
        {
            "installation_id": was.installation_id,
            "seen_judged_at": was.judged_at,
            "seen_life": was.life,
            "seen_address": was.client_address,
            "seen_verdict": was.verdict,
            "verdict": new.verdict,
            "claim_mismatch": new.claim_mismatch,
            "source_mismatch": new.source_mismatch,
            "license_id": each.license_id,
            "settled": each.settled,
        }
        for each in verdicts
        for was, new in ((each.current, each.judgement),)
    )
    async with connection.transaction():
        await lock_in_order(connection)
        rows = await connection.fetch(SQL["write_judgements"], text, at)
    written = {row["installation_id"] for row in rows}
    if changed := {each.current.installation_id for each in verdicts} - written:
        await connection.execute(SQL["judge_again"], sorted(changed))
    return len(written)
