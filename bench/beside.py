"""Ingest beside the roll-ups of a running server, compared with ingest alone.

Windows of ingest alone and beside alternate. Beside, "roll up pings" counts the pings of the window before. Of the
fifteen windows in five minutes, one also counts a large day, and one the fleet and the cohorts, although those are
counted only once an hour; of three times fifteen, one looks for pings that were committed late. The number of copies
is such that each has a few pings a day, like real ones: a day of a copy is counted again from all of its pings with
each new one.
"""

import asyncio
import operator
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass

from bench.fleet import Fleet, query, send, settle
from bench.questions import MAKE_DUE, ROLL_UPS
from bench.servers import free_port, telemetry_server
from telemetry_server.app import job_table
from telemetry_server.jobs.runner import run_job
from telemetry_server.settings import read_settings
from telemetry_server.store.database import connect

MEMBERS = 400_000
SECONDS = 20
ENOUGH = 1.5
CONNECTIONS = 64


@dataclass(frozen=True)
class Window:
    """The `jobs` of a kind of window, of which there are `times` in five minutes; `before` runs first."""

    times: float
    jobs: tuple[str, ...]
    before: str = "SELECT"


LOOK_FOR_LATE = (
    "UPDATE rollup_marks SET reached_at = reached_at - interval '15 minutes' WHERE name = 'roll up pings'"
)
WINDOWS = (
    Window(38 / 3, ("roll up pings",)),
    Window(1, ("roll up pings", "roll up days")),
    Window(1, ("roll up pings", "roll up cohorts", "count the fleet")),
    Window(1 / 3, ("roll up pings",), LOOK_FOR_LATE),
)


def ingest_beside_roll_ups(data, dsn):
    """Of each window: pings received per second, alone and beside, and the seconds of its jobs."""
    port, pairs = free_port(), []
    with telemetry_server(data, port, 1):
        [product] = query(data, "SELECT slug, product_id FROM products WHERE NOT simulated")
        fleet = Fleet(product["slug"], product["product_id"], data, MEMBERS)
        enrolled = send(port, CONNECTIONS, MEMBERS // 5_000, fleet.singles(MEMBERS), data)
        count = int(enrolled.rate * ENOUGH * SECONDS)
        RollUps(data, dsn, ROLL_UPS).run()
        for window in WINDOWS:
            alone = _rate(port, fleet, data, count)
            query(data, window.before)
            with RollUps(data, dsn, window.jobs) as beside:
                rate = _rate(port, fleet, data, count, beside.start)
            pairs.append((alone, rate, sum(beside.seconds.values())))
            RollUps(data, dsn, ROLL_UPS).run()
    return pairs


def _rate(port, fleet, data, count, begin=lambda: None):
    settle(fleet, data)
    requests = fleet.singles(count)
    begin()
    load = send(port, CONNECTIONS, SECONDS, requests, data)
    assert load.refused == 0, f"{load.refused} refused"
    sent = int(load.rate * SECONDS) % MEMBERS
    fleet.members = fleet.members[sent:] + fleet.members[:sent]  # others send next time
    return load.rate


class RollUps:
    """Runs each job once, one after the other, in a separate thread."""

    def __init__(self, data, dsn, names):
        self.dsn, self.seconds = dsn, {}
        settings = read_settings({}, {"data": str(data)})
        self._jobs = [job for job in job_table(settings) if job.name in names]
        self._thread = threading.Thread(target=self.run)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._thread.join()

    def start(self):
        self._thread.start()

    def run(self):
        asyncio.run(self._run())

    async def _run(self):
        connection = await connect(self.dsn)
        try:
            for job in self._jobs:
                for statement in MAKE_DUE:
                    await connection.execute(statement)
                started = time.perf_counter()
                await run_job(job, lambda: nullcontext(connection))
                self.seconds[job.name] = time.perf_counter() - started
        finally:
            await connection.close()


def ratio(pairs):
    """The ratio of pings received in five minutes beside the jobs to those alone; longer jobs use more windows."""
    times = [window.times * max(1, took / SECONDS) for window, (*_, took) in zip(WINDOWS, pairs, strict=True)]
    alone, beside, _ = (sum(map(operator.mul, times, column)) for column in zip(*pairs, strict=True))
    return beside / alone
