"""Whether a keyring and a database belong together: with a strange keyring nobody would be known any more."""

from pathlib import Path

import asyncpg

from telemetry_server.keyring import Keyring, KeyringError, open_keyring
from telemetry_server.store.queries import load

SQL = load("keyring")


async def open_keyring_of(connection: asyncpg.Connection, path: Path) -> Keyring:
    """The keyring in `path`, which is made only for a database that has none yet. Raises KeyringError."""
    remembered = await connection.fetchval(SQL["remembered_check"])
    if remembered is not None and not path.exists():  # noqa: ASYNC240  once, before anything is served
        raise KeyringError(
            f"There is no keyring at {path}, but this database was made with one. Restore it from a backup, "
            "or correct --data or TELEMETRY_KEYRING_FILE; a new one would lock every installation out."
        )
    keyring = open_keyring(path)
    await connection.execute(SQL["remember_check"], keyring.check_value)
    if await connection.fetchval(SQL["remembered_check"]) != keyring.check_value:
        raise KeyringError(
            f"{path} is not the keyring that this database was made with. Correct --data or "
            "TELEMETRY_KEYRING_FILE, or TELEMETRY_DATABASE_URL."
        )
    return keyring
