"""The cost of the SDK for its host, compared with other SDKs, in fresh processes that alternate."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from license_telemetry.testing import FakeServer

ROOT = Path(__file__).parent.parent
BESIDE = ROOT / "bench" / "out" / "beside"
ROUNDS = 7
WRITING_SECONDS = 600

# Each prints [milliseconds and MiB of the import, milliseconds of the constructor, microseconds of a call, median
# and 99.9th percentile]; `make` returns the call, with no server to be reached.
PROGRAM = """
import json, sys, time
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20
before, started = resident(), time.perf_counter()
{imports}
imported, mebibytes = time.perf_counter() - started, resident() - before
started = time.perf_counter()
call = make(sys.argv[1])
made = time.perf_counter() - started
call()
clock, costs, empty = time.perf_counter_ns, [], []
for _ in range(20_000):
    started = clock()
    call()
    costs.append(clock() - started)
for _ in range(20_000):
    started = clock()
    empty.append(clock() - started)
costs.sort()
floor = sorted(empty)[len(empty) // 2]
print(json.dumps([imported * 1e3, mebibytes, made * 1e3, (costs[10_000] - floor) / 1e3, costs[19_980] / 1e3]))
import os
os._exit(0)
"""
OURS = """
from license_telemetry import Telemetry
def make(home):
    feature = Telemetry("http://127.0.0.1:9", "pk_bench_0123456789abcdef0123", "1", state_dir=home).feature
    return lambda: feature("invoice.created")
"""
OTHERS = {
    "sentry-sdk": """
import sentry_sdk
def make(home):
    sentry_sdk.init("http://key@127.0.0.1:9/1")
    return lambda: sentry_sdk.add_breadcrumb(message="invoice.created")
""",
    "posthog": """
from posthog import Posthog
def make(home):
    client = Posthog("key", host="http://127.0.0.1:9")
    return lambda: client.capture("invoice.created", distinct_id="installation")
""",
    "opentelemetry-sdk": """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
def make(home):
    counter = MeterProvider([InMemoryMetricReader()]).get_meter("bench").create_counter("invoice.created")
    return lambda: counter.add(1)
""",
}
# Prints [MB written in an hour, calls a second]; the server is one that answers, or away.
WRITES = """
import json, sys, time
from license_telemetry import Telemetry
def written():
    with open("/proc/self/io") as file:
        return int(dict(line.split(": ") for line in file.read().splitlines())["write_bytes"])
endpoint, key, home, seconds = sys.argv[1:4] + [float(sys.argv[4])]
telemetry = Telemetry(endpoint, key, "1", state_dir=home, interval=86400)
telemetry.feature("invoice.created")
telemetry.flush(15)
before, started, count = written(), time.monotonic(), 0
while time.monotonic() - started < seconds:
    for number in range(100):
        telemetry.feature(f"feature.{number % 40}")
    count += 100
    time.sleep(max(0.0, started + count / 10_000 - time.monotonic()))
print(json.dumps([(written() - before) * 3600 / seconds / 1e6, count / seconds]))
import os
os._exit(0)
"""


def run(python, program, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "client_sdk")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [python, "-c", program, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def python_with_the_others():
    """A separate environment: the other SDKs are not dependencies of ours."""
    python = BESIDE / "bin" / "python"
    if not python.exists():
        venv.create(BESIDE, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *OTHERS], check=True)
    return str(python)


def measure_sdk(report):
    python, found = python_with_the_others(), {}
    programs = {"license-telemetry": OURS, **OTHERS}
    with tempfile.TemporaryDirectory() as home:
        for number in range(ROUNDS + 1):
            for name, imports in programs.items():
                figures = run(python, PROGRAM.replace("{imports}", imports), f"{home}/{name}-{number}")
                if number:  # the first compiles
                    found.setdefault(name, []).append(figures)
        written = measure_writes(python, home)
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in found.items()
    }
    report.sdk(medians.pop("license-telemetry"), medians, written)


def measure_writes(python, home):
    """MB written in an hour and calls a second, of a host whose server answers and of one whose server is away."""
    with FakeServer() as server, ThreadPoolExecutor() as executor:
        hosts = {
            "the server answers": (server.endpoint, server.product_key),
            "in an outage": ("http://127.0.0.1:9", server.product_key),
        }
        running = {
            state: executor.submit(run, python, WRITES, *host, f"{home}/{state}", str(WRITING_SECONDS))
            for state, host in hosts.items()
        }
        return {state: future.result() for state, future in running.items()}


if __name__ == "__main__":

    class Printed:
        def sdk(self, *figures):
            sys.stdout.write(json.dumps(figures, indent=1) + "\n")

    measure_sdk(Printed())
