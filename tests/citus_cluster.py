"""The Citus cluster that is given with --citus, as the fixture `cluster`: each test has its own database there.

A database of Citus is one on each node, and copying one copies it on each: its metadata name neither.
"""

import asyncio
import os
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
from patience import until

from telemetry_server.store.distribution import distribute

SHARDS = 4
"""Of a test's database: enough for two on each of two workers, and few files to copy."""
_QUICK_TYPES = "ALTER DATABASE {} SET citus.show_shards_for_app_name_prefixes = '*'"
"""As connections of the server have it: the driver's question for types takes seconds where shards are hidden."""
_NODES = "SELECT nodename, nodeport FROM pg_dist_node ORDER BY groupid"


class CitusCluster:
    """`dsn` is of a database on the coordinator where the workers are known; its role and password are for all."""

    def __init__(self, dsn):
        self.given = urlsplit(dsn)
        self.suffix = os.environ.get("PYTEST_XDIST_WORKER", "")

    async def start(self):
        async with _connected(self.given.geturl()) as connection:
            found = await connection.fetch(_NODES)
        self.nodes = [(node["nodename"], node["nodeport"]) for node in found]

    def dsn(self, database):
        return self._dsn(self.nodes[0], database)

    def _dsn(self, node, database):
        who = self.given.netloc.rpartition("@")[0]
        if database != "postgres":
            database = f"{database}_{self.suffix}"
        return self.given._replace(netloc=f"{who}@{node[0]}:{node[1]}", path=f"/{database}").geturl()

    async def make(self, name, workers=None):
        """An empty database on every node; its coordinator knows all workers, or the first ones."""
        name_there = f"{name}_{self.suffix}"
        await self._on_each(f"CREATE DATABASE {name_there}", _QUICK_TYPES.format(name_there))
        for node in self.nodes:
            async with _connected(self._dsn(node, name)) as connection:
                await connection.execute("CREATE EXTENSION citus")
        async with _connected(self.dsn(name)) as connection:
            await connection.execute("SELECT citus_set_coordinator_host($1, $2)", *self.nodes[0])
            for worker in self.nodes[1:][:workers]:
                await connection.execute("SELECT citus_add_node($1, $2)", *worker)

    async def spread(self, connection):
        await distribute(connection, SHARDS)

    async def copy(self, template, name):
        """The daemon of Citus returns to a database that is used; nothing else uses the template."""
        template, name = (f"{each}_{self.suffix}" for each in (template, name))
        await self._on_each(
            f"ALTER DATABASE {template} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{template}'",
            f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy",
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS true",
            _QUICK_TYPES.format(name),
        )

    async def execute(self, sql):
        """On the coordinator."""
        async with _connected(self.dsn("postgres")) as connection:
            await connection.execute(sql)

    async def drop(self, name):
        """Again while nodes still ask each other, as they do after a connection was cut."""

        async def dropped():
            try:
                await self._on_each(f"DROP DATABASE IF EXISTS {name}_{self.suffix} WITH (FORCE)")
            except asyncpg.ObjectInUseError:
                return False
            return True

        await until(dropped, every=0.5)

    async def _on_each(self, *statements):
        async def done(node):
            async with _connected(self._dsn(node, "postgres")) as connection:
                for statement in statements:
                    await connection.execute(statement)

        await asyncio.gather(*map(done, self.nodes))


@asynccontextmanager
async def _connected(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()
