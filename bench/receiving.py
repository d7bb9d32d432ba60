"""Single pings in every shape in which they come, beside bare aiohttp and what a vendor would build alone.

Each figure is of a window of a few seconds; windows of the servers take turns. With every ratio stands the CPU
that a ping took of the server, PostgreSQL and the load generator: rates hang on who else uses the machine.
"""

import statistics
import sys
from dataclasses import dataclass, field

from bench.cpu import postmaster, used
from bench.self_builds import NAMES, self_build
from bench.servers import Load, bare_aiohttp, free_port, new_connections, telemetry_server, wrk

BARE = "bare aiohttp"


@dataclass(frozen=True)
class Shape:
    """How uploads come: over `connections` that are kept, or from as many clients that open one for each."""

    workers: int
    connections: int
    kept: bool = True
    aim: float | None = field(default=None, compare=False)  # of bare aiohttp's rate

    def __str__(self):
        workers = f"{self.workers} worker{'s' * (self.workers > 1)}"
        if not self.kept:
            return f"as the SDK sends, {workers}, {self.connections} clients"
        return f"single pings, {workers}, {self.connections} connection{'s' * (self.connections > 1)}"

    def load(self, port, seconds, requests):
        send = wrk if self.kept else new_connections
        return send(port, self.connections, seconds, requests)


SHAPES = (
    Shape(1, 1),
    Shape(1, 64, aim=0.42),
    Shape(1, 256, aim=0.65),
    Shape(2, 64),
    Shape(2, 256, aim=0.36),
    Shape(1, 16, kept=False),
)
BESIDE = (Shape(1, 1), Shape(1, 64), Shape(1, 16, kept=False))
"""The shapes in which the self-builds are measured too: a worker has no advantage of another process."""


@dataclass
class Window:
    """What came of a window, and microseconds of CPU for each answer."""

    load: Load
    server: float
    postgresql: float
    generator: float

    @property
    def received_with(self):
        """What the machine that receives spends."""
        return self.server + self.postgresql


class Receiving:
    """Windows of `seconds` by shape and server: ours, and ours while installations are `new` to the process."""

    def __init__(self, bench, seconds):
        self.bench, self.seconds = bench, seconds
        self.ours, self.new, self.others = {}, {}, {}

    def round(self):
        for shape in SHAPES:
            with telemetry_server(self.bench.data, port := free_port(), shape.workers) as process:
                roots = [process.pid, postmaster(self.bench.data)]
                self._note(self.new, shape, self._stored(shape, port, roots))
                self._note(self.ours, shape, self._stored(shape, port, roots))
            with bare_aiohttp(port := free_port(), shape.workers) as process:
                self._window(shape, port, [process.pid], seconds=1)
                self._note(self.others, (BARE, shape), self._window(shape, port, [process.pid]))
            print(shape, file=sys.stderr)
        with telemetry_server(self.bench.data, free_port(), 1):  # for its PostgreSQL
            for name in NAMES:
                self._self_build(name, postmaster(self.bench.data))
                print(name, file=sys.stderr)

    def _self_build(self, name, postgresql):
        with self_build(name, self.bench.dsn, port := free_port(), 1) as process:
            for shape in BESIDE:
                for windows in ({}, self.others):  # the first window warms up
                    self._write_requests(shape)
                    window = self._window(shape, port, [process.pid, postgresql])
                    self._note(windows, (name, shape), window)

    def _stored(self, shape, port, roots):
        """A window whose every answer is a ping in the database."""
        self._write_requests(shape)
        before = self.bench.pings()
        window = self._window(shape, port, roots)
        assert self.bench.pings() - before >= window.load.rate * self.seconds * 0.98, "pings are missing"
        return window

    def _window(self, shape, port, roots, seconds=None):
        seconds = seconds or self.seconds
        before = used(*roots)
        load = shape.load(port, seconds, self.bench.requests)
        each = 1e6 / (load.rate * seconds)
        assert load.refused == 0, f"{load.refused} refused"
        server, *postgresql = (
            (after - first) * each for first, after in zip(before, used(*roots), strict=True)
        )
        return Window(load, server, sum(postgresql), load.cpu_seconds * each)

    def _write_requests(self, shape):
        """As many as a window may take, none of them sent before."""
        self.bench.settle()
        most = 16_000 if shape.connections > 16 else 6_000
        self.bench.write(self.seconds * most)

    def _note(self, windows, key, window):
        windows.setdefault(key, []).append(window)


def middle(windows, name):
    """The median of a figure of windows, or of what their load generators saw."""
    return statistics.median(getattr(w if hasattr(w, name) else w.load, name) for w in windows)
