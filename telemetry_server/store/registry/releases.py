"""Editions and releases of products, by the names that licenses and pings use."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from telemetry_server.model import Author, Product
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.queries import load
from telemetry_server.store.reading import read_rows
from telemetry_server.store.registry import history
from telemetry_server.store.registry.history import ChangeOutcome, Draft, Entity

SQL = load(__name__)


@dataclass(frozen=True, slots=True)
class Edition:
    """An edition of a product: its name in licenses and pings, and its name for people."""

    edition: str
    name: str


@dataclass(frozen=True, slots=True)
class Release:
    """A released version of a product, and its builds as in service.build, best digests.

    `supported_until` is the last day of its support; None: no end is known.
    """

    version: str
    released_on: date | None
    builds: tuple[str, ...]
    supported_until: date | None = None


async def editions_of(connection: Connection, product: Product) -> list[Edition]:
    rows = await connection.fetch(SQL["editions_of"], product.id)
    return [Edition(row["edition"], row["name"]) for row in rows]


async def keep_edition(
    connection: Connection, product: Product, edition: Edition, *, by: Author, now: datetime
) -> ChangeOutcome:
    """Creates the edition, or renames the existing one."""
    async with connection.transaction():
        await history.lock(connection)
        row = await connection.fetchrow(SQL["find_edition"], product.id, edition.edition)
        was = None if row is None else {"name": row["name"]}
        draft = Draft(Entity.EDITION, f"{product.slug}/{edition.edition}", was, {"name": edition.name})
        if draft.outcome is not ChangeOutcome.UNCHANGED:
            await connection.execute(SQL["keep_edition"], product.id, edition.edition, edition.name)
            await history.record(connection, [draft], by, now)
        return draft.outcome


async def releases_of(connection: Connection, product: Product) -> list[Release]:
    """The newest version first, in the usual order of versions: 7.10 before 7.9."""
    rows = await connection.fetch(SQL["releases_of"], product.id)
    return [
        Release(row["version"], row["released_on"], tuple(row["builds"]), row["supported_until"])
        for row in rows
    ]


async def released_between(pool: Pool, product: str, first: date, last: date) -> list[dict[str, Any]]:
    """Rows of version and released_on of the product of that slug, the oldest first."""
    return await read_rows(pool, SQL["released_between"], product, first, last)


async def keep_release(
    connection: Connection, product: Product, release: Release, *, by: Author, now: datetime
) -> tuple[ChangeOutcome, Release]:
    """Creates the release, or adds dates and missing builds to the existing one."""
    async with connection.transaction():
        await history.lock(connection)
        row = await connection.fetchrow(SQL["find_release"], product.id, release.version)
        names = ("released_on", "builds", "supported_until")
        was = None if row is None else {name: row[name] for name in names} | {"builds": tuple(row["builds"])}
        before = was or {"released_on": None, "builds": (), "supported_until": None}
        day = release.released_on or before["released_on"]
        builds = tuple(dict.fromkeys((*before["builds"], *release.builds)))
        until = release.supported_until or before["supported_until"]
        fields = {"released_on": day, "builds": builds, "supported_until": until}
        draft = Draft(Entity.RELEASE, f"{product.slug}/{release.version}", was, fields)
        if draft.outcome is not ChangeOutcome.UNCHANGED:
            await connection.execute(SQL["keep_release"], product.id, release.version, day, builds, until)
            await history.record(connection, [draft], by, now)
        return draft.outcome, Release(release.version, day, builds, until)
