"""Ingest while roll-ups run without a pause, against ingest while nothing else runs."""

import asyncio
import statistics
import threading
from datetime import UTC, datetime

import asyncpg

from bench.__main__ import query, send, settle
from bench.fleet import Fleet
from bench.questions import ROLL_UPS
from bench.servers import free_port, telemetry_server
from telemetry_server.app import job_table
from telemetry_server.jobs import run_job
from telemetry_server.settings import read_settings

MEMBERS = 20_000
ROUNDS = 3
SECONDS = 8
CONNECTIONS = 64


def ingest_beside_roll_ups(data, dsn):
    """Pairs of rates, alone and beside: [(alone, beside)], and how often the roll-ups ran meanwhile."""
    port, pairs, runs = free_port(), [], 0
    with telemetry_server(data, port, 1):
        [product] = query(data, "SELECT slug, product_id FROM products WHERE NOT simulated")
        fleet = Fleet(product["slug"], product["product_id"], data, MEMBERS)
        send(port, CONNECTIONS, 30, fleet.singles(MEMBERS), data)
        for _ in range(ROUNDS):
            alone = _rate(port, fleet, data)
            with RollUps(data, dsn) as beside:
                rate = _rate(port, fleet, data)
            pairs.append((alone, rate))
            runs += beside.runs
    return pairs, runs


def _rate(port, fleet, data):
    settle(fleet, data)
    load = send(port, CONNECTIONS, SECONDS, fleet.singles(SECONDS * 20_000), data)
    assert load.refused == 0, f"{load.refused} refused"
    return load.rate


class RollUps:
    """Runs the roll-ups one after the other, again and again, in a thread of their own."""

    def __init__(self, data, dsn):
        self.dsn, self.runs, self._stop = dsn, 0, False
        settings = read_settings({}, {"data": str(data)})
        self._jobs = [job for job in job_table(settings) if job.name in ROLL_UPS]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._repeat()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop = True
        self._thread.join()

    async def _repeat(self):
        async with asyncpg.create_pool(self.dsn, min_size=1, max_size=1, command_timeout=600) as pool:
            while not self._stop and self._jobs:
                for job in self._jobs:
                    await pool.execute("UPDATE days_due SET due_since = $1", datetime(2020, 1, 1, tzinfo=UTC))
                    await run_job(job, pool.acquire)
                self.runs += 1


def median_ratio(pairs):
    return statistics.median(beside / alone for alone, beside in pairs)
