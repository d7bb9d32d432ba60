"""Runs programs to their end, waits with a limit, and locks that end with their process."""

import asyncio
import fcntl
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import IO

from telemetry_server.store.embedded.account import Account
from telemetry_server.store.embedded.errors import EmbeddedCommandFailed, EmbeddedTimeout

Say = Callable[[str], None]
"""Takes one line for the operator: what the command waits for."""


def silent(_: str) -> None:
    """A `Say` that discards its line."""


@asynccontextmanager
async def started(
    program: Path | str,
    *arguments: str,
    account: Account | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A child in a separate session, without the terminal's Ctrl-C; killed when the block is left.

    `subprocess` and not asyncio's, because uvloop cannot start a program as another user.
    """
    identity = account.identity if account else {}
    child = subprocess.Popen(  # noqa: ASYNC220, S603 - takes milliseconds; the programs are our own
        [program, *arguments],
        cwd="/" if identity else None,  # that user may not be able to enter ours
        env=plain_environment() if env is None else env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        **identity,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
            await asyncio.to_thread(child.wait)


async def run(
    program: Path | str, *arguments: str, account: Account | None = None, env: Mapping[str, str] | None = None
) -> str:
    """The output of the program. Raises EmbeddedCommandFailed with it if the program fails."""
    everything = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    async with started(program, *arguments, account=account, env=env, **everything) as child:
        printed, _ = await asyncio.to_thread(child.communicate)
    output = printed.decode(errors="replace").strip()
    if child.returncode:
        raise EmbeddedCommandFailed(f"{Path(program).name} failed ({child.returncode}): {output[-4000:]}")
    return output


def plain_environment() -> dict[str, str]:
    """Our environment without PG… variables, which would redirect PostgreSQL's programs; in English."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return inherited | {"LC_ALL": "C"}


async def closed_to(account: Account, path: Path) -> Path | None:
    """The first of `path` and the directories above it, top down, that this user cannot enter.

    Tested as that user, so that access lists count, too.
    """
    script = 'for path do [ -x "$path" ] || { printf %s "$path"; exit; }; done'
    chain = [str(step) for step in (*reversed(path.parents), path)]
    found = await run("/bin/sh", "-c", script, "sh", *chain, account=account)
    return Path(found) if found else None


class Patience:
    """Waits in small steps with jitter, and reports what for. Raises EmbeddedTimeout after `seconds`."""

    def __init__(self, seconds: float, say: Say) -> None:
        self.say = say
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._speak_at = time.monotonic() + 1.0

    async def step(self, what: str, *, pause: float = 0.05) -> None:
        now = time.monotonic()
        if now > self._deadline:
            raise EmbeddedTimeout(f"Waited {self._seconds:.0f} s for {what}. Nothing is lost: try again.")
        if now > self._speak_at:
            self._speak_at = now + 5.0
            self.say(f"waiting for {what}")
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, no secret


async def until(attempt: Callable[[], bool], patience: Patience, what: str) -> None:
    while not attempt():
        await patience.step(what)


class FileLock:
    """An flock. The kernel releases it when its process ends in any way."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def share(self) -> bool:
        return self._try(fcntl.LOCK_SH)

    def own(self) -> bool:
        """Locks it exclusively; False if another process holds it: a shared lock may be lost then."""
        return self._try(fcntl.LOCK_EX)

    def close(self) -> None:
        os.close(self._descriptor)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@asynccontextmanager
async def owned(lock: FileLock, patience: Patience, what: str) -> AsyncIterator[None]:
    """Holds the lock exclusively within the block; waits for it, and reports `what` it waits for."""
    with closing(lock):
        await until(lock.own, patience, what)
        yield
