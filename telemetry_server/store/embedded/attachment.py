"""Several processes use one DATA: the first starts PostgreSQL, the last one stops it.

There are two locks. Each user of PostgreSQL holds a shared lock on `users`. A process that leaves tries to
lock `users` exclusively, and stops PostgreSQL if it succeeds. The lock `start` allows one start at a time.
The kernel releases the locks of a killed process, so a PostgreSQL left running is found by the next user and
stopped by the last one.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import asyncpg

from telemetry_server.store.database import AWAY
from telemetry_server.store.embedded.cluster import Cluster
from telemetry_server.store.embedded.errors import EmbeddedPathUnusable, EmbeddedTimeout
from telemetry_server.store.embedded.home import Home
from telemetry_server.store.embedded.processes import Patience, Say, owned, silent, until
from telemetry_server.store.embedded.system_user import DEDICATED
from telemetry_server.store.embedded.wheel import NEWEST

START_TIMEOUT_SECONDS = 600.0
PULSE_SECONDS = 10.0
KEEPER = "telemetry-server keeper"
"""The idle connection of `keep_alive` in pg_stat_activity."""


class Attachment:
    """This process's use of the embedded PostgreSQL; its threads and children just use the `dsn`."""

    def __init__(self, cluster: Cluster, start_timeout: float, say: Say) -> None:
        self._cluster = cluster
        self._start_timeout = start_timeout
        self._say = say

    @property
    def dsn(self) -> str:
        """The DSN for the application: the role `telemetry`, owner of the database `telemetry`."""
        return self._cluster.dsn()

    @property
    def admin_dsn(self) -> str:
        """The DSN of the superuser `postgres` and its database: for set-up and tests only."""
        return self._cluster.dsn("postgres", "postgres")

    async def ensure_running(self, *, make: bool = True) -> None:
        """Returns when connections are accepted; raises as `attached`. Creates missing data if `make`."""
        patience = Patience(self._start_timeout, self._say)
        cluster, home = self._cluster, self._cluster.home
        async with owned(home.lock("start"), patience, "another process to start PostgreSQL"):
            home.finish_upgrade()
            for leftover in home.unfinished():
                await replace(cluster, pgdata=leftover).discard()
            home.demand(cluster.major)
            if not home.postgres.exists():
                if not make:
                    raise EmbeddedPathUnusable(
                        f"{home.postgres} is gone, and no new database is made while a server runs. Mount "
                        "its disk or restore it: the server continues then."
                    )
                self._say(f"making a new database in {home.postgres}")
                await cluster.initialise()
            await cluster.start(patience)

    async def keep_alive(self) -> NoReturn:
        """Restarts PostgreSQL when it has died or hangs, until cancelled; for long-lived processes."""
        while True:
            try:
                await self._death()
            except Exception as error:  # noqa: BLE001  continues after any error of the driver
                self._say(f"PostgreSQL cannot be watched ({type(error).__name__}: {error})")
            self._say("PostgreSQL is away; making sure that it runs")
            await self._revive()

    async def _death(self) -> None:
        """Returns when PostgreSQL is away: an idle connection is closed at once when it dies in any way.

        A hung PostgreSQL closes nothing, so another connection is tried every PULSE_SECONDS.
        """
        dead = asyncio.Event()
        try:
            connection = await asyncpg.connect(
                self.admin_dsn, timeout=5, server_settings={"application_name": KEEPER}
            )
        except (*AWAY, asyncpg.PostgresError):
            return
        try:
            connection.add_termination_listener(lambda _: dead.set())
            while not connection.is_closed() and await self._cluster.answers():
                with suppress(TimeoutError):
                    await asyncio.wait_for(dead.wait(), PULSE_SECONDS)
        finally:
            connection.terminate()

    async def _revive(self) -> None:
        pause = 0.2
        while True:
            try:
                return await self.ensure_running(make=False)
            except Exception as error:  # noqa: BLE001  retried until it runs
                self._say(str(error) or type(error).__name__)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, no secret
            pause = min(2 * pause, 30.0)


@asynccontextmanager
async def attached(
    data: Path,
    *,
    major: int = NEWEST,
    database_user: str = DEDICATED,
    start_timeout: float = START_TIMEOUT_SECONDS,
    connections: int = 0,
    say: Say = silent,
) -> AsyncIterator[Attachment]:
    """PostgreSQL in `data`: started if it does not run, stopped afterwards if no other process uses it.

    Creates `data` if it is missing. `major` is the version to run; data written by another one is refused
    with `EmbeddedUpgradeNeeded` or `EmbeddedTooNew`. `database_user` runs PostgreSQL if this process is root;
    data of another user is handed over to it. A PostgreSQL that is started here accepts that many
    `connections` of the server. After `start_timeout` seconds, raises `EmbeddedTimeout` while PostgreSQL
    continues its recovery. Raises other `EmbeddedError`s.
    """
    home = Home(data)
    account = await home.account(database_user, say)
    await home.check_reach(account)
    home.make(account)
    cluster = Cluster(home, home.postgres, major, account, connections=connections)
    attachment = Attachment(cluster, start_timeout, say)
    patience = Patience(start_timeout, say)
    leave_running = False
    with closing(home.lock("users")) as users:
        try:
            await until(users.share, patience, "another process to stop or upgrade PostgreSQL")
            await attachment.ensure_running()
            yield attachment
        except EmbeddedTimeout:
            leave_running = True
            raise
        finally:
            if not leave_running and users.own():
                await cluster.stop()
