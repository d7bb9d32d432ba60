"""Passkeys of people: credentials of WebAuthn, alone or as a second factor."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from telemetry_server.store.access import factors, trail
from telemetry_server.store.access.credentials import Database
from telemetry_server.store.database import Connection, Pool, translated
from telemetry_server.store.queries import load

SQL = load(__name__)

MOST = 20
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey; `public_key` in COSE format. With `backed_up`, other devices of the person have it, too."""

    credential_id: bytes
    person_id: UUID
    public_key: bytes
    sign_count: int
    name: str
    backed_up: bool
    created_at: datetime
    last_used_at: datetime | None

    @property
    def id(self) -> str:
        return self.credential_id.hex()


async def list_passkeys(database: Database, person_id: UUID) -> list[Passkey]:
    """The passkeys of a person, the newest first."""
    async with translated():
        return [Passkey(**row) for row in await database.fetch(SQL["of_person"], person_id)]


async def find_passkey(database: Database, credential_id: bytes) -> Passkey | None:
    """The passkey of an active person by its id."""
    async with translated():
        row = await database.fetchrow(SQL["find"], credential_id)
    return row and Passkey(**row)


async def add_passkey(database: Connection | Pool, passkey: Passkey) -> list[str] | None:
    """Stores the passkey; returns the recovery codes of a first second factor, else an empty list.

    None if the passkey is known already, or the person has MOST of them.
    """
    new, person_id = passkey, passkey.person_id
    async with trail.transaction(database) as connection:
        made = await connection.fetchval(
            SQL["add"],
            *(new.credential_id, person_id, new.public_key, new.sign_count, new.name, new.backed_up),
            *(new.created_at, MOST),
        )
        if made is None:
            return None
        by = f"person:{person_id}"
        await trail.record(connection, "person.passkey", by=by, subject_id=person_id, name=new.name)
        if await factors.codes_left(connection, person_id):
            return []
        return await factors.renew_codes(connection, person_id)


async def note_use(database: Database, passkey: Passkey, sign_count: int, now: datetime) -> bool:
    """Whether the passkey may be used: of two answers with the same counter, one may."""
    async with translated():
        used = await database.fetchval(
            SQL["note_use"], passkey.credential_id, passkey.sign_count, sign_count, now
        )
    return used is not None


async def rename_passkey(database: Database, person_id: UUID, passkey_id: str, name: str) -> bool:
    """Another name; False if the person has no such passkey."""
    wanted = _id(passkey_id)
    async with translated():
        return (
            wanted is not None and await database.fetchval(SQL["rename"], wanted, person_id, name) is not None
        )


async def remove_passkey(database: Connection | Pool, person_id: UUID, passkey_id: str, *, by: str) -> bool:
    """Ends a passkey of the person; False if there is no such passkey."""
    wanted = _id(passkey_id)
    async with trail.transaction(database) as connection:
        rows = [] if wanted is None else await connection.fetch(SQL["remove"], person_id, wanted)
        if not rows:
            return False
        await _record_removal(connection, person_id, rows[0]["name"], by)
        await factors.drop_codes(connection, person_id)
    return True


async def remove_passkeys(database: Connection | Pool, person_id: UUID, *, by: str) -> int:
    """Ends all passkeys of the person; returns their number."""
    async with trail.transaction(database) as connection:
        rows = await connection.fetch(SQL["remove"], person_id, None)
        for row in rows:
            await _record_removal(connection, person_id, row["name"], by)
        if rows:
            await factors.drop_codes(connection, person_id)
    return len(rows)


async def _record_removal(connection: Connection, person_id: UUID, name: str, by: str) -> None:
    await trail.record(connection, "person.remove_passkey", by=by, subject_id=person_id, name=name)


def _id(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
