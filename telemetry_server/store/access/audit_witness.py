"""The witness of other servers' audit logs: c2sp.org/tlog-witness.

It keeps a checkpoint, and cosigns it, only if the log proves that it contains the one before. So a log that
is rewritten afterwards, even by who has its key, contradicts what the witness kept.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from telemetry_server.errors import BadRequest, Forbidden, NotFound, OperatorError
from telemetry_server.keyring import Keyring
from telemetry_server.merkle_tree import is_consistent
from telemetry_server.signed_note import Checkpoint, Cosigner, NoteVerifier, WrongNote, notes_in
from telemetry_server.store.access import trail
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.job_log import lock_number
from telemetry_server.store.queries import load

SQL = load(__name__)

_SUBMISSION = re.compile(r"old (0|[1-9][0-9]{0,18})\n((?:[A-Za-z0-9+/]{43}=\n){0,63})\n(.+)", re.DOTALL)


class AnotherSize(OperatorError):
    """The witness has another checkpoint than the one that the proof begins with."""

    status, code = 409, "another_size"

    def __init__(self, size: int) -> None:
        super().__init__(f"The witness has the checkpoint of {size} entries.")
        self.size = size


class Inconsistent(OperatorError):
    """The log does not contain the checkpoint that the witness has: it was rewritten."""

    status, code = 422, "inconsistent"


class Submission(NamedTuple):
    """A checkpoint, and the proof that its log contains the checkpoint of `old` entries."""

    old: int
    proof: list[bytes]
    note: str

    @classmethod
    def parsed(cls, text: str) -> "Submission":
        """The body of a request. Raises BadRequest."""
        match = _SUBMISSION.fullmatch(text)
        if match is None:
            raise BadRequest("Send a checkpoint as c2sp.org/tlog-witness says.")
        return cls(int(match[1]), [base64.b64decode(line) for line in match[2].split()], match[3])

    @property
    def text(self) -> str:
        """The body of a request."""
        proof = "".join(f"{base64.b64encode(each).decode()}\n" for each in self.proof)
        return f"old {self.old}\n{proof}\n{self.note}"


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A checkpoint that this server keeps for another one; the note has the cosignature."""

    origin: str
    size: int
    note: str
    received_at: datetime


def cosigner_of(keyring: Keyring) -> Cosigner:
    """The key of this server as a witness."""
    return Cosigner(keyring.witness_seed, "license-telemetry/witness")


async def keep(
    database: Connection | Pool,
    submitted: Submission,
    known: Sequence[NoteVerifier],
    cosigner: Cosigner,
    now: datetime,
) -> str:
    """The line of the cosignature, once the checkpoint is kept. `known`: the keys of the logs.

    Raises NotFound for an unknown log, Forbidden for a wrong signature, BadRequest, AnotherSize or
    Inconsistent.
    """
    checkpoint = _opened(submitted.note, known)
    if not 0 < checkpoint.size >= submitted.old:
        raise BadRequest("The checkpoint is empty, or smaller than the one that the proof begins with.")
    origin, size, root = checkpoint.origin, checkpoint.size, checkpoint.root
    async with trail.transaction(database) as connection:
        await connection.execute(SQL["lock"], lock_number(f"witness {origin}"))
        newest = await connection.fetchrow(SQL["newest"], origin)
        before, before_root = (newest["size"], newest["root"]) if newest else (0, b"")
        if submitted.old != before or (size == before and root != before_root):
            raise AnotherSize(before)
        if not is_consistent(before, before_root, size, root, submitted.proof):
            raise Inconsistent
        line = cosigner.cosign(checkpoint, now)
        await connection.execute(SQL["keep"], origin, size, root, submitted.note + line, now)
    return line


def _opened(note: str, known: Sequence[NoteVerifier]) -> Checkpoint:
    """The checkpoint in a note of a known log."""
    verifier = next((each for each in known if each.name == note.partition("\n")[0]), None)
    if verifier is None:
        raise NotFound("This server is no witness of this log.")
    try:
        checkpoint = verifier.open(note)
    except WrongNote as problem:
        raise Forbidden(f"The checkpoint is not valid. {problem}") from None
    if notes_in(note) != [note] or not note.startswith(f"{checkpoint.text}\n—"):
        raise BadRequest(
            "The checkpoint has other lines than origin, size and root, or is written otherwise."
        )
    return checkpoint


async def kept(connection: Connection, origin: str | None, limit: int) -> list[Witnessed]:
    """The newest checkpoints that this server keeps, of one log or of all, the newest first."""
    return [Witnessed(**row) for row in await connection.fetch(SQL["kept"], origin, limit)]
