"""The versions of the privacy notice, and the limits of what is kept, cached by each server process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from uuid import UUID

from telemetry_server.check.fields import Level
from telemetry_server.errors import Unavailable
from telemetry_server.receive.notice import Notice, NoticeText
from telemetry_server.store.database import Connection, Pool, translated
from telemetry_server.store.queries import load

SQL = load(__name__)


class PrivacyCache:
    """As of the last refresh, which a chore makes every few seconds. `base_url`: that of this server.

    `fallback`: the notice in the settings, for a vendor who publishes it elsewhere and adds no version here.
    """

    def __init__(self, pool: Pool, base_url: str, fallback: dict[str, str] | None = None) -> None:
        self._pool = pool
        self._base_url = base_url
        self._fallback = fallback
        self._read = False
        self._notices: list[NoticeText] = []
        self._versions: frozenset[str] = frozenset()
        self._of_installations: dict[UUID, Level] = {}
        self._of_keys: dict[bytes, Level] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Reads it before the first request; while PostgreSQL is away, later."""
        with suppress(Unavailable):
            await self.refresh()
        yield

    async def refresh(self) -> None:
        """Reads it again. Raises Unavailable."""
        async with translated(), self._pool.acquire(timeout=5) as connection:
            self._notices = await all_notices(connection, self._base_url)
            by_installation = await connection.fetch(SQL["installation_levels"])
            by_key = await connection.fetch(SQL["customer_levels"])
        self._versions = frozenset(each.version for each in self._notices)
        self._of_installations = {row["installation_id"]: Level(row["level"]) for row in by_installation}
        self._of_keys = {row["key_hash"]: Level(row["level"]) for row in by_key}
        self._read = True

    def allowed(self, installation_id: UUID, key_hash: bytes | None, notice: str | None) -> Level:
        """The most that may be kept of a ping. Raises Unavailable until it was read once.

        Under a version of the notice that is not known here, or none, that is the lowest level. Where there
        is no version at all, the notice makes no difference.
        """
        if not self._read:
            raise Unavailable
        if self._versions and notice not in self._versions:
            return Level.LICENSE
        of_customer = Level.USAGE if key_hash is None else self._of_keys.get(key_hash, Level.USAGE)
        of_installation = self._of_installations.get(installation_id, Level.USAGE)
        return of_customer if of_installation.allows(of_customer) else of_installation

    def in_force(self) -> tuple[NoticeText, ...]:
        """The version in force, in each of its languages."""
        return in_force(self._notices, datetime.now(UTC))

    def news_for(self, shown: str | None) -> tuple[NoticeText, ...]:
        """The version in force if the copy was shown another one, or none."""
        found = self.in_force()
        return () if found and found[0].version == shown else found

    def for_enrolment(self) -> Notice | None:
        """The notice that a new copy is told of."""
        return notice_for_enrolment(self.in_force(), self._fallback)


async def all_notices(connection: Connection, base_url: str) -> list[NoticeText]:
    """All versions in all languages, in the order in which they come into force."""
    return [
        NoticeText(
            row["version"],
            f"{base_url}/privacy/notices/{row['version']}?language={row['language']}",
            row["sha256"].hex(),
            row["language"],
            row["valid_from"],
        )
        for row in await connection.fetch(SQL["notices"])
    ]


def in_force(notices: list[NoticeText], now: datetime) -> tuple[NoticeText, ...]:
    """The version in force, in each of its languages; empty before the first one."""
    version = next((each.version for each in reversed(notices) if each.valid_from <= now), None)
    return tuple(each for each in notices if each.version == version)


def notice_for_enrolment(found: tuple[NoticeText, ...], fallback: dict[str, str] | None) -> Notice | None:
    """The notice that a new copy is told of: the version in force here, else that of the settings."""
    if found:
        return Notice(found[0].version, found[0].url.partition("?")[0])
    return Notice(**fallback) if fallback else None
