"""A cluster of a coordinator and two workers beside one machine: both here, in the same run.

    PYTHONPATH=tests python -m bench.cluster DIR     DIR: the programs of a PostgreSQL that has Citus

Writes its section of docs/cluster.md. Windows of the two take turns. All nodes share the cores of this machine,
so that only the CPU of a ping says how far a cluster grows: the section reckons with it.
"""

import argparse
import asyncio
import math
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from citus_nodes import Node, Nodes

from bench import asking, results
from bench.asking import Program, all_of, ask
from bench.cpu import used
from bench.fleet import Fleet, write
from bench.growth import table
from bench.questions import MAKE_DUE, QUESTIONS, ROLL_UPS
from bench.receiving import Shape, middle
from bench.scale import PRODUCT, timed, values_of
from bench.servers import ROOT, Load, free_port, make_places, running
from telemetry_server.cli.doctor.load import BUSY, DAY_SECONDS

PAGE = ROOT / "docs" / "cluster.md"
SHAPES = (Shape(1, 64), Shape(1, 16, kept=False))
AS_THE_SDK = SHAPES[-1]
SECONDS, MEMBERS = 4, 20_000
DAYS = 30
BILLION = 1_000_000_000 / DAY_SECONDS  # pings a second
CORES = 16
WORKERS = (2, 4, 8, 16)


@dataclass
class Window:
    """What came of a window, and microseconds of CPU of each process and its children for an answer."""

    load: Load
    server: float
    coordinator: float
    workers: float = 0

    @property
    def postgresql(self):
        return self.coordinator + self.workers


@dataclass
class Site:
    """A database with the nodes that it is on, and a server's data."""

    name: str
    nodes: list
    data: Path
    fleet: Fleet | None = None
    windows: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    roll_ups: float = 0

    @property
    def dsn(self):
        return self.nodes[0].dsn()

    @property
    def environment(self):
        return os.environ | {
            "TELEMETRY_DATABASE_URL": self.dsn,
            "TELEMETRY_DATA": str(self.data),
            "TELEMETRY_JOBS": "false",
            "TELEMETRY_TRUSTED_PROXIES": "127.0.0.0/8",
        }

    def run(self, *words):
        command = [sys.executable, "-m", "telemetry_server", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{self.name}, {' '.join(words)}: {done.stderr}")
        return done.stdout

    def query(self, sql):
        async def asked():
            connection = await asyncpg.connect(self.dsn)
            try:
                return await connection.fetch(sql, timeout=3_600)
            finally:
                await connection.close()

        return asyncio.run(asked())

    @contextmanager
    def serving(self):
        """A server for a block; gives its port and its process."""
        port = free_port()
        serve = ("serve", "--product", "Bench", "--workers", "1", "--listen", f"127.0.0.1:{port}")
        with running([sys.executable, "-m", "telemetry_server", *serve], port, self.environment) as process:
            yield port, process

    def enrol(self):
        """A fleet in which each member has sent one ping, so that normal operation follows."""
        with self.serving() as (port, _):
            [product] = self.query("SELECT slug, product_id FROM products WHERE NOT simulated")
            self.fleet = Fleet(product["slug"], product["product_id"], self.data, MEMBERS)
            write(self.fleet.singles(MEMBERS), self.requests)
            SHAPES[0].load(port, 30, self.requests)

    @property
    def requests(self):
        return self.data / "requests"

    def window(self, shape):
        """One that does not count, then one in which every answer is a ping in the database."""
        with self.serving() as (port, process):
            self._send(shape, port, process)
            window = self._send(shape, port, process)
        self.windows.setdefault(shape, []).append(window)
        return window

    def _send(self, shape, port, process):
        came = {
            str(row[0]): row[1]
            for row in self.query("SELECT installation_id, last_sequence FROM installations")
        }
        for member in self.fleet.members:
            member.sequence = came.get(member.id, 0)
        write(self.fleet.singles(SECONDS * 4_000), self.requests)
        roots = [process.pid, *(postmaster(node) for node in self.nodes)]
        [[stored]], before = self.query("SELECT count(*) FROM pings"), used(*roots)
        load = shape.load(port, SECONDS, self.requests)
        each = 1e6 / (load.rate * SECONDS)
        server, coordinator, *workers = (
            (after - first) * each for first, after in zip(before, used(*roots), strict=True)
        )
        assert load.refused == 0, f"{load.refused} refused"
        assert self.query("SELECT count(*) FROM pings")[0][0] - stored >= load.rate * SECONDS * 0.98
        return Window(load, server, coordinator, sum(workers))

    def look(self, installations):
        """Rolls up a simulated fleet, and asks the questions of people and programs."""
        size = ("--installations", installations, "--pings", 10 * installations, "--days", DAYS)
        self.run("simulate", "--product", PRODUCT, *map(str, size), "--no-counts")
        self.query("VACUUM (ANALYZE)")
        with timed(f"{self.name}: roll-ups") as watch:
            for job in ROLL_UPS:
                for statement in MAKE_DUE:
                    self.query(statement)
                self.run("run", job)
        self.roll_ups = watch.seconds
        self.query("VACUUM (ANALYZE)")
        values = asyncio.run(values_of(self.dsn))
        token = self.run("token", "create", "--role", "admin").strip()
        with self.serving() as (port, _), timed(f"{self.name}: {len(QUESTIONS)} questions"):
            program = Program(port, token)
            self.asked = [ask(program, question, values) for question in QUESTIONS]


def postmaster(node):
    return int((node.home / "data" / "postmaster.pid").read_text().split()[0])


def main():
    parser = argparse.ArgumentParser(description="Measures a cluster; writes its section of docs/cluster.md.")
    parser.add_argument("programs", type=Path, help="of a PostgreSQL that has Citus")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--installations", type=int, default=20_000, help="that questions are about")
    parser.add_argument("--times", type=int, default=asking.TIMES, help="that each question is asked")
    options = parser.parse_args()
    asking.TIMES = options.times
    with sites(options) as (one, cluster):
        load = os.getloadavg()[0]
        for site in (one, cluster):
            make_places(site.data / "geoip")
            site.enrol()
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for shape in SHAPES:
                for site in (one, cluster):
                    print(site.name, shape, site.window(shape), file=sys.stderr, flush=True)
        results.write("uploads", uploads_text(one, cluster, options, load), PAGE)
        for site in (one, cluster):
            site.look(options.installations)
        results.write("questions", questions_text(one, cluster, options), PAGE)


@contextmanager
def sites(options):
    """The two, with empty databases."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
        home = Path(directory)
        home.chmod(0o755)
        alone = Node(options.programs, home / "alone", shared_preload_libraries="")
        alone.make()
        alone.start()
        stack.callback(alone.stop)
        (home / "nodes").mkdir()
        nodes = Nodes(options.programs, home=home / "nodes")
        stack.callback(nodes.close)
        nodes.start()
        found = []
        for name, of_site in (("one machine", [alone]), ("cluster", nodes.nodes)):
            data = home / name.replace(" ", "-")
            data.mkdir()
            found.append(Site(name, of_site, data))
            found[-1].run("migrate")
        found[1].run("cluster", "distribute", "--shards", str(options.shards))
        yield found


# ── the page ────────────────────────────────────────────────────────────────────────────────


def uploads_text(one, cluster, options, load):
    return f"""## Measured

`PYTHONPATH=tests python -m bench.cluster DIR --shards {options.shards} --rounds {options.rounds}`, a coordinator and two workers beside one machine in the same run.
All nodes, the server and the load generator share the cores of this machine (load of others before: {load:.1f}), and the three
nodes one disk: the CPU of a ping says how a cluster grows, the rates only what it costs here.

{results.machine()}

{uploads(one, cluster)}

{growth(one, cluster)}"""


def uploads(one, cluster):
    rows = []
    for shape in SHAPES:
        mine, theirs = cluster.windows[shape], one.windows[shape]
        pairs = [window.load.rate / other.load.rate for window, other in zip(mine, theirs, strict=True)]
        ratio = f"{statistics.median(pairs):.2f} [{min(pairs):.2f}–{max(pairs):.2f}]"
        for name, windows in (("one machine", theirs), ("cluster", mine)):
            cpu = [f"{middle(windows, part):,.0f}" for part in ("server", "coordinator", "workers")]
            rate = f"{middle(windows, 'rate'):,.0f}"
            rows.append((f"{shape}: {name}", rate, *cpu, ratio if windows is mine else ""))
    heads = (
        "uploads",
        "a second",
        "µs of server",
        "of PostgreSQL, coordinator",
        "of the workers",
        "ratio of rates",
    )
    return table(heads, rows)


def questions_text(one, cluster, options):
    alone, spread = all_of(one.asked), all_of(cluster.asked)
    slowest = sorted(zip(one.asked, cluster.asked, strict=True), key=lambda pair: -pair[1].p95)[:8]
    named = {question.name for question in QUESTIONS if question.name.startswith("page: ")}
    pages = [all_of([asked for asked in site.asked if asked.name in named]) for site in (one, cluster)]
    rows = [
        (f"all {len(QUESTIONS)} questions", f"{alone.p95:.0f}", f"{spread.p95:.0f}"),
        ("pages", *(f"{asked.p95:.0f}" for asked in pages)),
        *((mine.name, f"{mine.p95:.0f}", f"{theirs.p95:.0f}") for mine, theirs in slowest),
    ]
    refused = sum(sum(asked.refused.values()) for asked in cluster.asked)
    said = f" {refused} answers were refused." if refused else ""
    return (
        f"Questions of `bench/questions.py` to {options.installations:,} simulated installations with ten pings each, "
        f"{options.times} times each (load of others: {os.getloadavg()[0]:.1f}); below, the slowest on the cluster.{said} All roll-ups took {one.roll_ups:.0f} s on one machine and "
        f"{cluster.roll_ups:.0f} s on the cluster.\n\n" + table(("p95, ms", "one machine", "cluster"), rows)
    )


def growth(one, cluster):
    """What follows from the CPU of a ping as the SDK sends it."""
    windows = cluster.windows[AS_THE_SDK]
    server, coordinator, workers = (middle(windows, part) for part in ("server", "coordinator", "workers"))
    alone = middle(one.windows[AS_THE_SDK], "postgresql")
    here = CORES * BUSY * 1e6
    rows = [("one machine", f"{here / alone:,.0f}", f"{here / alone * DAY_SECONDS / 1e6:,.0f}")]
    for number in WORKERS:
        rate = min(number * here / workers, here / coordinator)
        rows.append((f"{number} workers", f"{rate:,.0f}", f"{rate * DAY_SECONDS / 1e6:,.0f}"))

    def cores(cost):
        return math.ceil(BILLION * cost / 1e6 / BUSY)

    return f"""On paper, from these costs as the SDK sends (one ping on a new connection), with {CORES} cores for each node, at most {BUSY:.0%} of
them busy, servers on machines of their own, and roll-ups not counted:

{table(("PostgreSQL on", "pings a second", "million a day"), rows)}

A billion pings a day are {BILLION:,.0f} a second: {cores(server)} cores for servers, {cores(coordinator)} for the coordinator and {cores(workers)} for the
workers together; PostgreSQL on one machine would need {cores(alone)} cores. More workers help until the coordinator is busy."""


if __name__ == "__main__":
    main()
