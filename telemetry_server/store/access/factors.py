"""Authenticator apps (TOTP) of people, and the recovery codes of any second factor; each works once."""

import base64
import secrets
from datetime import datetime
from uuid import UUID

from telemetry_server.store.access import trail
from telemetry_server.store.access.credentials import Database, digest
from telemetry_server.store.database import Connection, translated
from telemetry_server.store.queries import load

SQL = load(__name__)

RECOVERY_CODES = 10
_SALT_BYTES, _CODE_BYTES, _GROUP = 16, 15, 4


async def begin_totp(database: Database, person_id: UUID) -> bytes | None:
    """The salt of a new secret, to be confirmed; None where a second factor is set up."""
    salt = secrets.token_bytes(_SALT_BYTES)
    async with translated():
        begun = await database.fetchval(SQL["begin_totp"], person_id, salt)
    return None if begun is None else salt


async def confirm_totp(
    connection: Connection, person_id: UUID, step: int, *, now: datetime
) -> list[str] | None:
    """The recovery codes, which cannot be shown again; None where none is begun. `step`: of the code."""
    async with translated(), connection.transaction():
        if await connection.fetchval(SQL["confirm_totp"], person_id, now, step) is None:
            return None
        codes = await _new_codes(connection, person_id)
        await trail.record(connection, "person.totp", by=f"person:{person_id}", subject_id=person_id)
    return codes


async def renew_codes(connection: Connection, person_id: UUID) -> list[str]:
    """New recovery codes instead of the old ones."""
    async with translated(), connection.transaction():
        codes = await _new_codes(connection, person_id)
        await trail.record(
            connection, "person.recovery_codes", by=f"person:{person_id}", subject_id=person_id
        )
    return codes


async def remove_totp(connection: Connection, person_id: UUID, *, by: str) -> bool:
    """Ends the authenticator app; False where there is none."""
    async with translated(), connection.transaction():
        if await connection.fetchval(SQL["remove_totp"], person_id) is None:
            return False
        await drop_codes(connection, person_id)
        await trail.record(connection, "person.remove_totp", by=by, subject_id=person_id)
    return True


async def drop_codes(connection: Connection, person_id: UUID) -> None:
    """Ends the recovery codes, unless the person still has a second factor that they replace."""
    await connection.execute(SQL["drop_codes"], person_id)


async def use_step(database: Database, person_id: UUID, step: int) -> bool:
    """Whether the code of this time step may be used: each once. Of two at the same moment one may."""
    async with translated():
        return await database.fetchval(SQL["use_step"], person_id, step) is not None


async def use_recovery_code(database: Database, person_id: UUID, code: str, now: datetime) -> bool:
    """Uses a recovery code up; False if it is unknown or used."""
    async with translated():
        used = await database.fetchval(SQL["use_code"], person_id, digest(_bare(code)), now)
    return used is not None


async def codes_left(database: Database, person_id: UUID) -> int:
    async with translated():
        return int(await database.fetchval(SQL["codes_left"], person_id))


async def _new_codes(connection: Connection, person_id: UUID) -> list[str]:
    codes = [_code() for _ in range(RECOVERY_CODES)]
    await connection.execute(SQL["forget_codes"], person_id)
    await connection.execute(SQL["add_codes"], person_id, [digest(_bare(code)) for code in codes])
    return codes


def _code() -> str:
    """120 random bits, as xxxx-xxxx-…: enough for a plain hash in the database."""
    text = base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def _bare(code: str) -> str:
    return "".join(filter(str.isalnum, code)).lower()
