"""Checkpoints of the audit log: its signed root, in the database and in files outside of it.

    DIRECTORY/2026-11-30/20852.checkpoint

A checkpoint is written only if the log still contains the newest one before it. So a log that was rewritten
in the database does not get a new one, and fails against any file that was copied elsewhere.
"""

import asyncio
import email
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from telemetry_server import durable
from telemetry_server.errors import OperatorError
from telemetry_server.keyring import Keyring
from telemetry_server.signed_note import Checkpoint, NoteSigner, NoteVerifier, WrongNote, notes_in
from telemetry_server.store.access.audit_log import number_entries, root_of, size_of
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

_READABLE = 0o644
_LARGEST_FILE = 1_048_576


class LogRewritten(OperatorError):
    """The audit log does not contain its last checkpoint."""

    code = "audit_rewritten"


class WrongCheckpoint(OperatorError):
    """The file is not a checkpoint of this log."""

    code = "wrong_checkpoint"


def signer_of(keyring: Keyring) -> NoteSigner:
    """The signer of this log. Its key follows from the keyring: it is outside the database, and backed up."""
    return NoteSigner(keyring.audit_seed, "license-telemetry/audit")


async def write_checkpoint(
    connection: Connection, signer: NoteSigner, directory: Path | None, now: datetime
) -> str | None:
    """Numbers waiting entries and signs the root; returns the note, None for an empty log.

    An unchanged log keeps its checkpoint. Not for a transaction, which could still be rolled back.
    Raises LogRewritten, AuditLogDamaged, WrongCheckpoint or OSError.
    """
    stored = await connection.fetchrow(SQL["newest"])
    file = directory and await asyncio.to_thread(newest_file, directory)
    await number_entries(connection)
    size = await size_of(connection)  # after the newest checkpoint is known: another process may write one
    if stored is not None:
        await _demand(connection, signer.verifier, stored["note"], size, "its table audit_checkpoints")
    if file is not None:
        await _demand(connection, signer.verifier, await asyncio.to_thread(file.read_text), size, str(file))
    if not size:
        return None
    note: str | None = stored["note"] if stored is not None and stored["size"] == size else None
    if note is None:
        note = signer.sign(size, await root_of(connection, size))
        await connection.execute(SQL["keep"], size, now, note)
    if directory is not None and (file is None or file.stem != str(size)):
        await asyncio.to_thread(_write, directory / f"{now:%Y-%m-%d}" / f"{size}.checkpoint", note)
    return note


async def newest_note(connection: Connection) -> str | None:
    """The newest checkpoint in the database, None before the first one."""
    stored = await connection.fetchrow(SQL["newest"])
    return None if stored is None else str(stored["note"])


async def _demand(connection: Connection, verifier: NoteVerifier, note: str, size: int, where: str) -> None:
    """Raises LogRewritten unless the log contains the checkpoint."""
    before = opened(verifier, note, where)
    if before.size > size or await root_of(connection, before.size) != before.root:
        raise LogRewritten(
            f"The audit log does not contain the checkpoint of {before.size} entries in {where}: it was "
            "changed or cut, or the database was restored from a backup. Run: telemetry-server audit verify"
        )


def opened(verifier: NoteVerifier, note: str, where: str) -> Checkpoint:
    """The checkpoint of this log in a note. Raises WrongCheckpoint."""
    try:
        return verifier.open(note)
    except WrongNote as problem:
        raise WrongCheckpoint(f"{where} has no valid checkpoint of this log. {problem}") from None


def checkpoints_in(path: Path, verifier: NoteVerifier) -> Iterator[Checkpoint]:
    """The checkpoints in a file, or in all files below a directory. Raises WrongCheckpoint or OSError.

    A file may also be an e-mail with a checkpoint in it.
    """
    for file in sorted(path.glob("*/*.checkpoint")) if path.is_dir() else [path]:
        with file.open("rb") as opened_file:
            content = opened_file.read(_LARGEST_FILE)
        if not (notes := notes_in(content.decode("utf-8", "replace")) or _notes_in_mail(content)):
            raise WrongCheckpoint(f"{file} has no checkpoint in it.")
        yield from (opened(verifier, note, str(file)) for note in notes)


def _notes_in_mail(content: bytes) -> list[str]:
    """The notes in an e-mail whose text is encoded, as the sign before a signature is no ASCII."""
    parts = [part.get_payload(decode=True) for part in email.message_from_bytes(content).walk()]
    texts = [part.decode("utf-8", "replace") for part in parts if isinstance(part, bytes)]
    return notes_in("\n".join(texts))


def newest_file(directory: Path) -> Path | None:
    """The file of the newest checkpoint in the directory."""
    for day in sorted(directory.glob("????-??-??"), reverse=True):
        if files := list(day.glob("*.checkpoint")):
            return max(files, key=lambda file: int(file.stem) if file.stem.isdecimal() else -1)
    return None


def _write(file: Path, note: str) -> None:
    """Writes the file unless a file of this size is there already."""
    durable.make_directory(file.parent, 0o755)
    with suppress(FileExistsError):
        durable.write(file, note.encode(), mode=_READABLE, replace=False)
