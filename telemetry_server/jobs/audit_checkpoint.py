"""The job that writes checkpoints of the audit log."""

from datetime import datetime
from functools import partial
from pathlib import Path

from telemetry_server import durable
from telemetry_server.errors import OperatorError
from telemetry_server.job_names import JobName
from telemetry_server.jobs.threads import OneCall
from telemetry_server.jobs.timestamps import TIMEOUT_SECONDS, timestamp
from telemetry_server.logs import Severity, log
from telemetry_server.store.access.audit_checkpoints import newest_file, signer_of, write_checkpoint
from telemetry_server.store.access.keyring_check import keyring_of
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run

_READABLE = 0o644


def write_audit_checkpoint(keyring: Path, directory: Path | None, timestamp_url: str) -> Run:
    """Signs the root of the audit log, in the database and in a file of the directory.

    A timestamp of the newest file is beside it, in a file that ends in .tsr; without one, the next run asks
    again.
    """
    one_call = OneCall(JobName.WRITE_AUDIT_CHECKPOINT, TIMEOUT_SECONDS)

    async def run(connection: Connection, now: datetime) -> str:
        signer = signer_of(await keyring_of(connection, keyring))
        note = await write_checkpoint(connection, signer, directory, now)
        if note is None:
            return "the audit log is empty"
        done = f"the checkpoint has {note.splitlines()[1]} entries"
        if directory is None or not timestamp_url:
            return done
        try:
            return f"{done}, {await one_call.run(partial(_add_timestamp, directory, timestamp_url))}"
        except TimeoutError as error:
            log("no timestamp", Severity.WARNING, error=str(error))
            return f"{done}, no timestamp: {error}"

    return run


def _add_timestamp(directory: Path, url: str) -> str:
    """Adds the timestamp if it is missing; the checkpoint is written, so an error does not fail the job."""
    file = newest_file(directory)
    if file is None or file.with_suffix(".tsr").exists():
        return "has its timestamp"
    try:
        durable.write(file.with_suffix(".tsr"), timestamp(url, file.read_bytes()), mode=_READABLE)
    except (OperatorError, OSError) as error:
        log("no timestamp", Severity.WARNING, checkpoint=file, error=f"{type(error).__name__}: {error}")
        return f"no timestamp: {error}"
    return "got a timestamp"
