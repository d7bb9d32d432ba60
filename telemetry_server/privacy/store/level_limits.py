"""The most that is kept of an installation or a customer, whatever the copies send."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from telemetry_server.check.fields import Level
from telemetry_server.errors import NotFound
from telemetry_server.model import Author, Customer
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.store.registry.customers import NoSuchCustomer, customer_by_id, customers_by_email

SQL = load(__name__)

MOST_LISTED = 200


class NoSuchInstallation(NotFound):
    """No ping of such an installation was received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The limit of one subject. `reduced_at`: when what was kept above it was removed; None: not yet."""

    subject: Subject
    name: str
    level: Level
    set_at: datetime
    reduced_at: datetime | None


async def set_limit(
    connection: Connection, subject: Subject, level: Level, *, by: Author, now: datetime
) -> None:
    """Limits what is kept; the level "usage" removes the limit. Raises NoSuchInstallation or NoSuchCustomer.

    It holds for pings a few seconds later. What was kept above it is removed by the job "keep to levels".
    """
    async with connection.transaction():
        await _demand(connection, subject)
        if level is Level.USAGE:
            await connection.execute(SQL[f"free_{subject.kind}"], subject.id)
        else:
            await connection.execute(SQL[f"limit_{subject.kind}"], subject.id, level, now)
        await audit.record(
            connection,
            audit.Entry(
                actor=by.recorded_as or by.actor,
                action=f"{subject.kind}.level",
                subject_kind=subject.kind,
                subject_id=str(subject.id),
                network=by.network,
                reason=by.reason,
                details={"level": level},
            ),
            now,
        )


async def limits(connection: Connection) -> list[Limit]:
    """The newest limits of customers, then of installations."""
    customers = [
        Limit(
            subject=Subject("customer", row["customer_id"]),
            name=row["name"],
            level=Level(row["level"]),
            set_at=row["set_at"],
            reduced_at=row["reduced_at"],
        )
        for row in await connection.fetch(SQL["limited_customers"], MOST_LISTED)
    ]
    installations = [
        Limit(
            subject=Subject("installation", row["installation_id"]),
            name=str(row["installation_id"]),
            level=Level(row["level"]),
            set_at=row["set_at"],
            reduced_at=row["reduced_at"],
        )
        for row in await connection.fetch(SQL["limited_installations"], MOST_LISTED)
    ]
    return [*customers, *installations]


async def _demand(connection: Connection, subject: Subject) -> None:
    if subject.kind == "customer":
        await customer_by_id(connection, subject.id)
    elif not await installation_is_known(connection, subject.id):
        raise NoSuchInstallation


async def customer_named(connection: Connection, text: str) -> Customer:
    """The customer with this e-mail or id. Raises NoSuchCustomer."""
    with suppress(ValueError):
        return await customer_by_id(connection, UUID(text.strip()))
    found = await customers_by_email(connection, [text.strip().lower()])
    if not found:
        raise NoSuchCustomer(f"There is no customer {text}.")
    return next(iter(found.values()))


async def subject_named(connection: Connection, words: str) -> Subject:
    """An installation by its id, else a customer by id or e-mail. Raises NoSuchCustomer."""
    with suppress(ValueError):
        if await installation_is_known(connection, UUID(words)):
            return Subject("installation", UUID(words))
    return Subject("customer", (await customer_named(connection, words)).customer_id)


async def installation_is_known(connection: Connection, installation_id: UUID) -> bool:
    """Whether a ping of the installation is stored."""
    return bool(await connection.fetchval(SQL["is_known"], installation_id))
