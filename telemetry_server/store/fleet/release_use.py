"""Which versions and builds of a product are in use. Reads only."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeAlias
from uuid import UUID

from telemetry_server.enrich.verdict import UNCOVERED
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.store.registry.releases import Release

SQL = load(__name__)

Row: TypeAlias = dict[str, Any]

_MOST_BUILDS = 2_000


@dataclass(frozen=True, slots=True)
class VersionUse:
    """A version that copies use or that was released; `behind` counts the releases after it."""

    version: str
    release: Release | None
    copies: int
    uncovered: int
    last_received_at: datetime | None
    behind: int | None

    def is_unsupported(self, today: date) -> bool:
        """Whether its support has ended."""
        until = self.release.supported_until if self.release else None
        return until is not None and until < today


async def versions_in_use(
    connection: Connection, product_id: UUID, releases: list[Release]
) -> list[VersionUse]:
    """Every version in use, the newest first, then the releases that no copy uses."""
    known = {release.version: release for release in releases}
    order = {release.version: place for place, release in enumerate(releases)}
    rows = await connection.fetch(SQL["versions_in_use"], product_id, list(UNCOVERED))
    used = [
        VersionUse(
            row["version"],
            known.get(row["version"]),
            row["copies"],
            row["uncovered"],
            row["last_received_at"],
            order.get(row["version"]),
        )
        for row in rows
    ]
    names = {each.version for each in used}
    unused = [each for each in releases if each.version not in names]
    return used + [VersionUse(each.version, each, 0, 0, None, order[each.version]) for each in unused]


async def foreign_builds(connection: Connection, product_id: UUID, releases: list[Release]) -> list[Row]:
    """The builds that copies name and that are none of the version's release, if it names its builds.

    Of versions that were never released every build is foreign.
    """
    known = {release.version: set(release.builds) for release in releases}
    rows = await connection.fetch(SQL["builds_in_use"], product_id, _MOST_BUILDS)
    return [
        dict(row)
        for row in rows
        if row["version"] not in known
        or (known[row["version"]] and row["build"] not in known[row["version"]])
    ]
