"""The role that owns the tables of the audit log, so that the server's role cannot switch their triggers off.

Only a superuser can make it so. That of the embedded PostgreSQL is ours; for an external one docs/audit.md
has the statement. A migration needs the tables back.
"""

from contextlib import suppress

import asyncpg

from telemetry_server.store.database import operator_connection
from telemetry_server.store.queries import load

SQL = load(__name__)

_PATIENCE_SECONDS = 20


async def protect(superuser: str) -> None:
    """Makes `telemetry_audit` the owner, and leaves the server's role what it needs.

    Does nothing where that is so, or while another process reads the tables: the next start does it then.
    """
    await _run(superuser, "protect")


async def give_back(superuser: str) -> None:
    """Makes the server's role the owner again, for migrations."""
    await _run(superuser, "give_back")


async def _run(superuser: str, name: str) -> None:
    async with operator_connection(superuser, patience=_PATIENCE_SECONDS) as connection:
        with suppress(asyncpg.LockNotAvailableError):
            await connection.execute("SET lock_timeout = '5s'")
            await connection.execute(SQL[name])
