"""The record of accounts in the audit log: sign-ins, and changes of people and factors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from telemetry_server.logs import Severity, log, log_rationed
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection, Pool, translated


@asynccontextmanager
async def transaction(database: Connection | Pool) -> AsyncIterator[Connection]:
    """A transaction on the connection, or on one of the pool. Raises Unavailable."""
    async with translated():
        if hasattr(database, "acquire"):  # a pool
            async with database.acquire() as connection, connection.transaction():
                yield connection
        else:
            async with database.transaction():
                yield database


async def record(
    database: Connection | Pool,
    action: str,
    *,
    by: str,
    subject_id: UUID | str | None = None,
    network: str | None = None,
    severity: Severity = Severity.INFO,
    **details: Any,
) -> None:
    """Writes down an action, such as "person.role", of `by`; the subject is the person, token or session.

    What is more severe than usual is logged, too.
    """
    kind = action.partition(".")[0]
    entry = audit.Entry(
        actor=by,
        action=action,
        subject_kind=kind,
        subject_id=None if subject_id is None else str(subject_id),
        network=network,
        details=details,
    )
    async with translated():
        await audit.record(database, entry)
    if severity is not Severity.INFO:
        log("account", severity, action=action, by=by, subject=subject_id, **details)


async def refused(
    database: Connection | Pool, how: str, *, email: str, network: str | None, **details: str | None
) -> None:
    """Writes down that a sign-in was refused, whether the account exists or not; logged once a minute."""
    async with translated():
        await audit.record(
            database,
            audit.Entry(
                actor="stranger",
                action="person.refused",
                subject_kind="person",
                network=network,
                details={"how": how, "email": email, **details},
            ),
        )
    log_rationed("sign-in refused", by=how)
