"""The table of results, and whether the aims were reached."""

import statistics

from rich.console import Console
from rich.table import Table

from bench import results
from bench.receiving import BARE, middle


class Report:
    """Collects rows: the measurement, the figure, the aim, and whether it was reached."""

    def __init__(self):
        self.rows = []
        self.spent = {}

    def add(self, what, figure, aim="", reached=None):
        self.rows.append((what, figure, aim, {None: "", True: "yes", False: "no"}[reached]))

    def receiving(self, found):
        for shape, ours in found.ours.items():
            self._shape(shape, ours, found.new[shape], found.others[BARE, shape])
        for (name, shape), theirs in found.others.items():
            if name != BARE:
                self._beside(name, shape, found.ours[shape], theirs)

    def _shape(self, shape, ours, new, bare):
        """Beside each ratio the CPU of both sides."""
        ratio, figure = _of(ours, bare)
        reached = ratio >= shape.aim if shape.aim else None
        aim = f"≥ {shape.aim}" if shape.aim else ""
        self.add(f"{shape}: of {BARE}", f"{figure}; {_cpu(ours)}; of {BARE}: {_cpu(bare)}", aim, reached)
        figure = _of(new, bare)[1]
        self.add(f"{shape}: of {BARE}, while installations are new to the process", f"{figure}; {_cpu(new)}")
        p50, p99 = middle(ours, "p50_ms"), middle(ours, "p99_ms")
        figure = f"{middle(ours, 'rate'):,.0f} a second; {p50:.2f} / {p99:.2f} ms"
        aimed = shape.kept and shape.connections == 64
        self.add(f"{shape}: acknowledged; p50 / p99", figure, *(("p99 < 15 ms", p99 < 15) if aimed else ()))

    def _beside(self, name, shape, ours, theirs):
        pairs = zip(ours, theirs, strict=True)
        cpu = statistics.median(mine.received_with / other.received_with for mine, other in pairs)
        self.add(
            f"{shape}: of {name}",
            f"rate {_of(ours, theirs)[1]}, CPU of server and PostgreSQL {cpu:.2f}; its {_cpu(theirs)}",
        )

    def capacity(self, costs):
        """What docs/capacity.md rests on."""
        parts = ("server", "postgresql", "tls", "jobs")
        figure = ", ".join(f"{name} {getattr(costs, name):.0f}" for name in parts)
        self.add("as the SDK sends: CPU of a ping", f"{costs.cpu_seconds * 1e6:,.0f} µs ({figure})")
        self.add("as the SDK sends: WAL of a ping", f"{costs.wal:,.0f} bytes")
        figure = f"{costs.ping:,.0f} bytes a ping, {costs.installation:,.0f} an installation"
        self.add("on disk with roll-ups, a ping a day", figure)

    def batches(self, rate, copy, size):
        self.add(
            f"batches of {size}, 1 worker: of raw binary COPY",
            f"{rate / copy:.2f}",
            "≥ 0.40",
            rate / copy >= 0.40,
        )
        self.add(f"batches of {size}, 1 worker", f"{rate:,.0f} pings a second")
        self.add("raw binary COPY of the same rows", f"{copy:,.0f} rows a second")

    def size(self, pings, ping_bytes, installation_bytes):
        self.add(f"on disk, of {pings:,} pings with their indexes", f"{ping_bytes:,.0f} bytes a ping")
        self.add("on disk, an installation with its states", f"{installation_bytes:,.0f} bytes")

    def indexes(self, measured):
        for indexes, rate, wal in measured:
            named = " and ".join(f"({columns})" for columns in indexes)
            self.add(
                f"raw COPY, indexes {named}", f"{rate:,.0f} rows a second, {wal:,.0f} bytes of WAL a row"
            )

    def sdk(self, ours, others, written):
        """Figures of each: import in ms and MiB, constructor in ms, a call in µs, median and p99.9; MB an hour and calls a
        second by the state of the server."""
        imported, mebibytes, made, median, slowest = ours
        self.add("SDK: feature(), median", f"{median:.2f} µs", "≤ 1 µs", median <= 1)
        self.add("SDK: feature(), p99.9", f"{slowest:.1f} µs", "≤ 50 µs", slowest <= 50)
        self.add("SDK: import", f"{imported:.1f} ms", "≤ 12 ms", imported <= 12)
        self.add("SDK: memory of the import", f"{mebibytes:.1f} MiB", "≤ 2 MiB", mebibytes <= 2)
        self.add("SDK: Telemetry()", f"{made:.2f} ms", "≤ 1 ms", made <= 1)
        for state, (megabytes, rate) in written.items():
            self.add(
                f"SDK: written at {rate:,.0f} feature() a second, {state}",
                f"{megabytes:.2f} MB an hour",
                "≤ 1 MB",
                megabytes <= 1,
            )
        for name, figures in others.items():
            ratios = zip(figures, ours, strict=True)
            import_ratio, memory, _, call, _ = (theirs / mine for theirs, mine in ratios)
            self.add(
                f"{name} beside it", f"call {call:.1f}×, import {import_ratio:.0f}×, memory {memory:.0f}×"
            )

    def finish(self):
        headings = ("measured", "figure", "aim", "reached")
        table = Table(*headings)
        for row in self.rows:
            table.add_row(*row)
        Console().print(table)
        lines = [" | ".join(row) for row in (headings, ("---",) * 4, *self.rows)]
        results.write("bench", _head() + "\n".join(f"| {line} |" for line in lines) + "\n" + self._profile())

    def _profile(self):
        names = dict.fromkeys(name for shares in self.spent.values() for name in shares)
        lines = [
            ("spender", *(f"{connections} connections" for connections in self.spent)),
            ("---",) * (1 + len(self.spent)),
            *((name, *(f"{shares.get(name, 0):.0%}" for shares in self.spent.values())) for name in names),
        ]
        return (
            "\n### What a single ping is spent on\n\nThe server's own time at 1 worker, under cProfile (which makes "
            "Python look dearer than C).\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)
        )


def _head():
    return (
        "## Receiving\n\n`make bench`. Client, server and PostgreSQL share the cores. Ratios are of runs that took "
        "turns; the median of three, with the lowest and highest. New to the process: most uploads are the first of "
        "their installation since the server started, so that none of what it remembers helps. As the SDK sends: a "
        "new connection that the upload asks to close, head and body in two writes; its load generator is Python. "
        "The self-builds (`bench/self_builds/`) check no signature and know no verdict. CPU, which other users of "
        "the machine distort less than rates, is that of all processes of a program, from `/proc`.\n\n"
        f"{results.machine()}\n\n"
    )


def _of(ours, bare):
    """The median ratio of runs that took turns, and how it reads."""
    pairs = [mine.load.rate / other.load.rate for mine, other in zip(ours, bare, strict=True)]
    ratio = statistics.median(pairs)
    return ratio, f"{ratio:.2f} [{min(pairs):.2f}–{max(pairs):.2f}]"


def _cpu(windows):
    """Microseconds of each part, for an answer."""
    server, postgresql, generator = (middle(windows, name) for name in ("server", "postgresql", "generator"))
    of_postgresql = f" + PostgreSQL {postgresql:.0f}" if postgresql else ""
    return f"server {server:.0f}{of_postgresql} + load generator {generator:.0f} µs"
