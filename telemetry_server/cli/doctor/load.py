"""The share of this machine that today's load takes.

The cost of a ping is what `make bench` measured last: measured.json.
"""

import math
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec

from telemetry_server.cli.doctor.findings import Finding, ok, warning
from telemetry_server.store.database import Connection
from telemetry_server.store.upkeep import vitals

BUSY = 0.5
"""The share of the cores up to which answers hardly wait; the other half is for peaks, backups and pages."""
SAMPLES, SAMPLE = 24, timedelta(minutes=1)
DAY_SECONDS = 86_400


class Costs(msgspec.Struct, frozen=True):
    """The cost of a ping as the SDK sends it: µs of CPU by who spends it, and bytes on disk.

    `jobs`: roll-ups; `tls`: the proxy, with one handshake a ping; `ping`, `installation`: with their indexes
    and roll-ups; `wal`: written for a ping, full pages included; `worker_mebibytes`: of a server process.
    """

    measured_on: str
    machine: str
    server: float
    postgresql: float
    tls: float
    jobs: float
    ping: float
    installation: float
    wal: float
    worker_mebibytes: float

    @property
    def cpu_seconds(self) -> float:
        """CPU of all processes for a ping."""
        return (self.server + self.postgresql + self.tls + self.jobs) / 1e6

    def pings_a_second(self, cores: float) -> float:
        """The rate that so many cores receive while BUSY of them is used."""
        return cores * BUSY / self.cpu_seconds

    def cores(self, rate: float) -> int:
        """The cores that a rate needs."""
        return max(1, math.ceil(rate * self.cpu_seconds / BUSY))

    def disk(self, installations: float, rate: float, days: int) -> float:
        """Bytes of installations and of their pings of so many days."""
        return installations * self.installation + rate * DAY_SECONDS * days * self.ping


@cache
def costs() -> Costs:
    """The costs that `make bench` measured last."""
    return msgspec.json.decode(Path(__file__).with_name("measured.json").read_bytes(), type=Costs)


async def samples(connection: Connection, now: datetime) -> list[int]:
    """Pings received in one minute of each of the last 24 hours."""
    starts = [now - hour * timedelta(hours=1) - SAMPLE for hour in range(SAMPLES)]
    return [await vitals.pings_between(connection, start, start + SAMPLE) for start in starts]


def load(counts: Sequence[int], cores: int = os.cpu_count() or 1) -> Finding:
    """The busiest of these minutes beside what the cores receive, PostgreSQL and proxy among them."""
    busiest, most = max(counts) / SAMPLE.total_seconds(), costs().pings_a_second(cores)
    share = busiest / most
    found = (
        f"{_rate(busiest)} pings a second in the busiest of 24 minutes since yesterday, "
        f"{share:.0%} of what {cores} cores are good for ({_rate(most)})"
    )
    if share < 1:
        return ok("load", found)
    return warning("load", found, "Answers may wait. Plan more cores, or a longer interval: docs/capacity.md")


def _rate(pings: float) -> str:
    return f"{pings:,.2f}" if pings < 1 else f"{pings:,.0f}"
