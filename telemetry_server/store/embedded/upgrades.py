"""Upgrades to the next major version of PostgreSQL: dump, load beside, compare, swap.

The old data is not changed. After a kill at any moment, the next start or upgrade continues from complete
data: before the swap the old data, from its first rename on the new data.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from telemetry_server.durable import rename
from telemetry_server.store.embedded.attachment import START_TIMEOUT_SECONDS
from telemetry_server.store.embedded.cluster import Cluster
from telemetry_server.store.embedded.dumps import dump, restore
from telemetry_server.store.embedded.errors import EmbeddedInUse, EmbeddedPathUnusable, EmbeddedUpgradeFailed
from telemetry_server.store.embedded.home import PORT, Home
from telemetry_server.store.embedded.processes import Patience, Say, silent
from telemetry_server.store.embedded.system_user import DEDICATED
from telemetry_server.store.embedded.wheel import NEWEST

TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
"""


async def upgrade(
    data: Path,
    *,
    to: int = NEWEST,
    database_user: str = DEDICATED,
    start_timeout: float = START_TIMEOUT_SECONDS,
    say: Say = silent,
) -> Path | None:
    """Upgrades `data` to major version `to`. Returns the path of the dump, or None if nothing is to be done.

    Raises EmbeddedInUse if another process uses `data`. The dump and the old data, as `postgres.old-<major>`,
    stay until the operator removes them. Needs twice the space of the data.
    """
    home = Home(data)
    if not home.data.exists():
        raise EmbeddedPathUnusable(f"There is no directory {home.data}.")
    account = await home.account(database_user, say)
    await home.check_reach(account)
    with closing(home.lock("users")) as users:
        if not users.own():
            raise EmbeddedInUse(f"Another process uses {home.data}: stop it first.")
        home.finish_upgrade()
        before = home.major()
        if before in (None, to):
            return None
        if before > to:
            home.demand(to)
        if home.aside(before).exists():
            raise EmbeddedUpgradeFailed(
                f"{home.aside(before)} of an earlier upgrade is still there: remove it first."
            )
        old = Cluster(home, home.postgres, before, account)
        new = Cluster(home, home.beside(to), to, account, port=PORT + 1)
        saved = await copy(old, new, start_timeout, say)
        rename(old.pgdata, home.aside(before))
        rename(new.pgdata, home.postgres)
    say(f"upgraded to PostgreSQL {to}; {saved} and {home.aside(before)} stay until you remove them")
    return saved


async def copy(old: Cluster, new: Cluster, start_timeout: float, say: Say) -> Path:
    """Dumps the old data, loads it into a new cluster and compares the two. Returns the path of the dump."""
    old.home.backups.mkdir(mode=0o700, exist_ok=True)
    now = datetime.now(UTC)
    saved = old.home.backups / f"before-upgrade-{old.major}-{new.major}-{now:%Y%m%dT%H%M%SZ}.dump"
    async with running(old, Patience(start_timeout, say)):
        say(f"writing {saved}")
        await dump(old.dsn("postgres"), saved)
        await new.discard()
        await new.initialise()
        async with running(new, Patience(start_timeout, say)):
            say(f"loading it into PostgreSQL {new.major}")
            await restore(new.dsn(), saved)
            await compare(old, new)
    return saved


@asynccontextmanager
async def running(cluster: Cluster, patience: Patience) -> AsyncIterator[None]:
    try:
        await cluster.start(patience)
        yield
    finally:
        await cluster.stop()


async def compare(old: Cluster, new: Cluster) -> None:
    """Raises EmbeddedUpgradeFailed unless both have the same tables with the same number of rows."""
    before, after = await count_rows(old), await count_rows(new)
    different = {table for table, _ in before.items() ^ after.items()}
    if different:
        counts = ", ".join(f"{table} {before.get(table)} → {after.get(table)}" for table in sorted(different))
        raise EmbeddedUpgradeFailed(f"Rows are missing after loading: {counts}. The old data is untouched.")


async def count_rows(cluster: Cluster) -> dict[str, int]:
    connection = await asyncpg.connect(cluster.dsn("postgres"))
    try:
        tables = [row["name"] for row in await connection.fetch(TABLES)]
        return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables}  # noqa: S608 - quoted by format('%I')
    finally:
        await connection.close()
