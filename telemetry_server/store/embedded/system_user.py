"""The user that runs PostgreSQL for root: a dedicated system user, which is created if it is missing."""

import asyncio
import pwd
import shutil

from telemetry_server.store.embedded.account import Account
from telemetry_server.store.embedded.errors import EmbeddedCommandFailed
from telemetry_server.store.embedded.processes import Say, run

DEDICATED = "telemetry-postgres"

STAND_IN = "daemon"
"""For systems without useradd. Every system has this user; `nobody` is for the least trusted programs."""

_SYSTEM_PROGRAMS = "/usr/sbin:/sbin:/usr/bin:/bin"
_PATIENCE_SECONDS = 5


async def account_for_root(name: str, say: Say) -> Account:
    """The account of that name. Creates a missing DEDICATED; if it cannot, returns STAND_IN."""
    if name == DEDICATED and not _exists(name) and (problem := await _make(name)):
        say(f"The system user {name!r} could not be made ({problem}): PostgreSQL runs as {STAND_IN!r}.")
        return Account.of(STAND_IN)
    return Account.of(name)


async def _make(name: str) -> str:
    """Creates a user without login and home. Returns why it could not, or an empty text."""
    useradd = shutil.which("useradd", path=_SYSTEM_PROGRAMS)
    if useradd is None:
        return "there is no useradd"
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    try:
        await run(useradd, *options, "--shell", "/usr/sbin/nologin", name)
    except EmbeddedCommandFailed as error:
        for _ in range(10 * _PATIENCE_SECONDS):  # another process may be creating it
            if _exists(name):
                return ""
            await asyncio.sleep(0.1)
        return error.detail.splitlines()[-1]
    return ""


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
