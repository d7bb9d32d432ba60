"""Copies that call when they are told to, and the jobs, at times of one's own."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest
from checked_pings import make_checked_ping, make_signed_upload
from story import NOON, Story

from telemetry_server.jobs.deadlines import Portions, watch_deadlines
from telemetry_server.store.database import connect_writer
from telemetry_server.store.ingest.writer import GroupWriter
from telemetry_server.store.partitions import make_partitions
from telemetry_server.store.registry.products import add_product

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 60 * DAY


class Fleet:
    """The copies of one product: daily, with a day of grace, lost after 30, new for 7."""

    def __init__(self, connection, writer, product):
        self.connection, self.writer, self.product = connection, writer, product
        self.sequences, self.portions = {}, Portions()

    async def ping(self, copy, at):
        sequence = self.sequences[copy] = self.sequences.get(copy, 0) + 1
        ping = make_checked_ping(sequence, ping_id=uuid4(), occurred_at=at)
        await self.writer.write(make_signed_upload(copy, self.product.id, ping, at=at, address=None), 100)

    async def copies(self, count, at):
        made = [uuid4() for _ in range(count)]
        await asyncio.gather(*(self.ping(copy, at) for copy in made))
        return made

    async def watch(self, at):
        return await watch_deadlines(self.connection, at, self.portions)

    async def watch_often(self, since, until, every=2 * MINUTE):
        """As a running server does, only not as often."""
        at = since
        while at <= until:
            await self.watch(at)
            at += every

    async def life(self, copy):
        row = await self.connection.fetchrow(
            "SELECT life, life_since FROM installation_facts WHERE installation_id = $1", copy
        )
        return row["life"], row["life_since"]

    async def timeline(self, copy):
        rows = await self.connection.fetch(
            "SELECT changed_at, sequence, before, after FROM changes"
            " WHERE installation_id = $1 AND field = 'life' ORDER BY changed_at",
            copy,
        )
        return [tuple(row) for row in rows]

    async def outages(self):
        return [tuple(row) for row in await self.connection.fetch("TABLE outages ORDER BY began_at")]

    async def execute(self, sql, *arguments):
        return await self.connection.execute(sql, *arguments)


@pytest.fixture
async def fleet(database, connection):
    product, _ = await add_product(connection, "Billing", now=START)
    async with GroupWriter(partial(connect_writer, database)) as writer:
        yield Fleet(connection, writer, product)


@pytest.fixture
def start():
    """Where time begins: far enough back, and on the hour."""
    return START


@pytest.fixture
async def story(database, connection):
    products = [(await add_product(connection, name, now=NOON))[0].id for name in ("Billing", "Panel")]
    await make_partitions(connection, NOON.date())
    async with GroupWriter(partial(connect_writer, database)) as writer:
        yield Story(connection, writer, products)
