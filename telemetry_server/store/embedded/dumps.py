"""Dumps a database to a file and restores it, with the newest programs of the wheel.

They read any PostgreSQL up to their own version and write to any from 15 on.
"""

import asyncio
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen
from urllib.parse import unquote, urlsplit

from telemetry_server.durable import whole
from telemetry_server.store.embedded.errors import EmbeddedCommandFailed
from telemetry_server.store.embedded.processes import run, started
from telemetry_server.store.embedded.wheel import binaries

UNKNOWN_BEFORE_17 = b"SET transaction_timeout = 0;\n"

TO_SQL = ["--no-owner", "--no-privileges", "--single-transaction", "--file=-"]
"""The script begins with BEGIN and ends with COMMIT: truncated anywhere, it changes nothing."""

RUN_SQL = ["--no-psqlrc", "--no-password", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1"]


async def dump(dsn: str, file: Path) -> None:
    """Writes the database to `file`, completely or not at all, in pg_dump's custom format, mode 0600."""
    address, environment = without_password(dsn)
    with whole(file) as part:
        options = ["--format=custom", "--no-password", f"--file={part}"]
        await run(binaries() / "pg_dump", *options, address, env=environment)


async def restore(dsn: str, file: Path) -> None:
    """Loads a `dump` into an empty database, completely or not at all; the role of `dsn` becomes the owner.

    Raises EmbeddedCommandFailed with the reason; nothing has changed then.
    """
    address, environment = without_password(dsn)
    load = [*RUN_SQL, "--file=-", "--command=ANALYZE", address]
    with tempfile.TemporaryFile() as errors:
        async with (
            started(binaries() / "pg_restore", *TO_SQL, str(file), stdout=PIPE, stderr=errors) as reader,
            started(binaries() / "psql", *load, env=environment, stdin=PIPE, stderr=errors) as writer,
        ):
            await asyncio.to_thread(_pour, reader, writer)
        if reader.returncode or writer.returncode:
            errors.seek(0)
            reason = errors.read().decode(errors="replace").strip()[-4000:]
            raise EmbeddedCommandFailed(f"{file} was not restored and nothing has changed: {reason}")


def _pour(reader: Popen[bytes], writer: Popen[bytes]) -> None:
    source, sink = reader.stdout, writer.stdin
    assert source is not None
    assert sink is not None
    with source, suppress(BrokenPipeError):  # psql has failed, and reported why
        sink.write(source.read(4096).replace(UNKNOWN_BEFORE_17, b"", 1))
        shutil.copyfileobj(source, sink, 2**20)
    with suppress(BrokenPipeError):
        sink.close()
    reader.wait()
    writer.wait()


def without_password(dsn: str) -> tuple[str, dict[str, str]]:
    """The DSN without its password, and an environment with it: other users can read command lines."""
    password = urlsplit(dsn).password
    if password is None:
        return dsn, dict(os.environ)
    return dsn.replace(f":{password}@", "@", 1), os.environ | {"PGPASSWORD": unquote(password)}
