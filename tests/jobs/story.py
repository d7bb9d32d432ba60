"""Uploads through the real writer, and the roll-ups, at times of one's own."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from plain_count import PlainCount, Sent

from telemetry_server.check.fields import load_registry
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.pings import roll_up_pings

REGISTRY = load_registry()
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


class Story:
    """Uploads and jobs, at times of one's own; what should be counted is counted beside."""

    def __init__(self, connection, writer, products):
        self.connection, self.writer = connection, writer
        self.products = products
        self.plain = PlainCount()

    async def send(self, installation, received_at, *told, product=0, place=0):
        told = tuple(sorted(told, key=lambda one: one.sequence))
        sent = Sent(installation, self.products[product], received_at, told, place)
        await self.writer.write(sent.upload(), 100)
        self.plain.take(sent)

    async def roll_up(self, now, slice_pings=100_000):
        await roll_up_pings(REGISTRY, slice_pings)(self.connection, now)
        await roll_up_days(REGISTRY)(self.connection, now)

    async def installation_days(self):
        rows = await self.connection.fetch(
            "SELECT d.product_id, d.state, v.* FROM installation_days AS d"
            " JOIN v_installation_days AS v USING (day, installation_id)"
        )
        return {
            (r["day"], r["installation_id"]): (
                *(r["product_id"], r["state"], r["verdict"], r["claim_mismatch"], r["pings"]),
                json.loads(r["features"]) if r["features"] else None,
            )
            for r in rows
        }

    async def fleet_days(self):
        rows = await self.connection.fetch(
            "SELECT product_id, day, dimension, value, verdict, installations, pings FROM fleet_days"
        )
        return {tuple(row)[:5]: tuple(row)[5:] for row in rows}

    async def feature_days(self):
        rows = await self.connection.fetch(
            "SELECT product_id, day, feature, uses, installations FROM feature_days"
        )
        return {tuple(row)[:3]: (int(row["uses"]), row["installations"]) for row in rows}

    async def agrees(self):
        assert await self.installation_days() == self.plain.installation_days()
        assert await self.fleet_days() == self.plain.fleet_days()
        assert await self.feature_days() == self.plain.feature_days()
        assert await self.connection.fetch("TABLE days_due") == []

    async def pretend_fleet(self, size):
        """Of a small fleet, days are found by the time they came, of a large one in histories."""
        await self.connection.execute(
            "UPDATE pg_class SET reltuples = $1 WHERE oid = 'installations'::regclass", size
        )

    async def begin_anew(self):
        """Nothing came yet; the copies are others, since the writer remembers what it wrote."""
        await self.connection.execute(
            "TRUNCATE installations, installation_facts, states, changes, pings, installation_days, fleet_days,"
            " feature_days, cohort_weeks, rollup_marks, days_due, weeks_due"
        )
        self.plain = PlainCount()
        return [uuid4() for _ in range(3)]
