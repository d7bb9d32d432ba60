"""The copies behind licenses. Reads only."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from telemetry_server.enrich.verdict import WORST_FIRST
from telemetry_server.model import Verdict
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

Row: TypeAlias = dict[str, Any]


@dataclass(slots=True)
class Copies:
    """The copies on a license or on the licenses of a customer; `silent` ones are late or lost."""

    by_verdict: Counter[str] = field(default_factory=Counter)
    silent: int = 0
    last_received_at: datetime | None = None

    @property
    def total(self) -> int:
        return self.by_verdict.total()

    @property
    def worst(self) -> str | None:
        """The worst verdict of the copies; None without copies."""
        return next((verdict.value for verdict in WORST_FIRST if self.by_verdict[verdict.value]), None)

    def add(self, row: Any) -> None:
        """Adds a row of copies_by_license."""
        self.by_verdict[row["verdict"]] += row["copies"]
        self.silent += 0 if row["reporting"] else row["copies"]
        self._see(row["last_received_at"])

    def join(self, other: "Copies") -> None:
        """Adds the copies of another license."""
        self.by_verdict += other.by_verdict
        self.silent += other.silent
        self._see(other.last_received_at)

    def _see(self, last: datetime | None) -> None:
        if last is not None and (self.last_received_at is None or last > self.last_received_at):
            self.last_received_at = last


async def copies_by_license(connection: Connection, license_ids: Collection[UUID]) -> dict[UUID, Copies]:
    """The copies of each of these licenses that has any."""
    found: dict[UUID, Copies] = {}
    rows = await connection.fetch(SQL["copies_by_license"], list(license_ids)) if license_ids else []
    for row in rows:
        found.setdefault(row["license_id"], Copies()).add(row)
    return found


async def verdict_since(
    connection: Connection, license_ids: Collection[UUID], verdict: Verdict = Verdict.OVER_SEATS
) -> dict[UUID, datetime]:
    """Since when each of these licenses has copies of that verdict."""
    rows = (
        await connection.fetch(SQL["verdict_since"], list(license_ids), verdict.value) if license_ids else []
    )
    return {row["license_id"]: row["since"] for row in rows}


async def copies_of_license(connection: Connection, license_id: UUID, limit: int) -> list[Row]:
    """The copies of a license, the last seen first."""
    return [dict(row) for row in await connection.fetch(SQL["copies_of_license"], license_id, limit)]
