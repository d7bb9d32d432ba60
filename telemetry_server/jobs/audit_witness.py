"""The job that sends the newest checkpoint of the audit log to its witness: c2sp.org/tlog-witness."""

from datetime import datetime
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, build_opener

from telemetry_server.errors import Unavailable
from telemetry_server.job_names import JobName
from telemetry_server.jobs.threads import OneCall
from telemetry_server.jobs.timestamps import TIMEOUT_SECONDS, NoRedirects
from telemetry_server.store.access.audit_checkpoints import LogRewritten, newest_note
from telemetry_server.store.access.audit_log import prove_consistency
from telemetry_server.store.access.audit_witness import Submission
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run

_LARGEST_ANSWER = 1_024
_LONGEST_SIZE = 19


def send_to_witness(url: str, token: str, seconds: float = TIMEOUT_SECONDS) -> Run:
    """Sends the newest checkpoint, with the proof that it contains the one that the witness has.

    Waits `seconds` for each whole answer.

    Raises LogRewritten where it does not, and Unavailable where the witness does not keep it.
    """
    one_call = OneCall(JobName.SEND_AUDIT_CHECKPOINT, seconds)

    async def send(*submission: Any) -> int | None:
        try:
            return await one_call.run(partial(_send, url, token, Submission(*submission)))
        except TimeoutError as error:
            raise Unavailable(f"The witness does not answer: {error}.") from None

    async def run(connection: Connection, _: datetime) -> str:
        note = await newest_note(connection)
        if note is None:
            return "no checkpoint"
        size = int(note.splitlines()[1])
        kept = await send(size, [], note)
        if kept is not None and kept < size:
            proof = await prove_consistency(connection, kept, size)
            kept = await send(kept, proof, note)
        if kept is not None:
            raise LogRewritten(
                f"The witness has another checkpoint of {kept} entries, and the newest one here has {size}: "
                "the audit log was changed or cut, or the database was restored from a backup."
            )
        return f"the witness has the checkpoint of {size} entries"

    return run


def _send(url: str, token: str, submitted: Submission) -> int | None:
    """None if the witness keeps the checkpoint; else the size of the one that it has. Blocks."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "license-telemetry-server"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    asked = Request(f"{url}/add-checkpoint", submitted.text.encode(), headers)  # noqa: S310  the setting is https
    try:
        with build_opener(NoRedirects()).open(asked, timeout=TIMEOUT_SECONDS) as reply:
            reply.read(_LARGEST_ANSWER)
            return None
    except HTTPError as error:
        with error:
            answer = error.read(_LARGEST_ANSWER).decode("utf-8", "replace").strip()
        if error.code == HTTPStatus.CONFLICT and answer.isdecimal() and len(answer) <= _LONGEST_SIZE:
            return int(answer)
        if error.code == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise LogRewritten(
                f"The audit log does not contain the checkpoint of {submitted.old} entries that the witness "
                "has: it was changed. Run: telemetry-server audit verify, with the witness's checkpoints."
            ) from None
        raise Unavailable(f"The witness does not keep the checkpoint: {error.code} {answer[:200]}") from None
    except (OSError, HTTPException) as error:
        raise Unavailable(f"The witness does not answer: {type(error).__name__}: {error}") from None
