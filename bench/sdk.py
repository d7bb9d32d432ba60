"""What the SDK costs the software it is embedded in, each figure from fresh processes."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

SDK = Path(__file__).parent.parent / "client_sdk"
RUNS = 7

IMPORT = """
import time
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20
before, started = resident(), time.perf_counter()
from license_telemetry import Telemetry
milliseconds, mebibytes = (time.perf_counter() - started) * 1e3, resident() - before
print(f"[{milliseconds}, {mebibytes}]")
"""
FEATURE = """
import json, statistics, sys, time
from license_telemetry import Telemetry
telemetry = Telemetry(endpoint="http://127.0.0.1:9", product_key="pk_bench_0123456789abcdef0123", version="1", state_dir=sys.argv[1])
feature, clock, costs = telemetry.feature, time.perf_counter_ns, []
for _ in range(20_000):
    started = clock()
    feature("invoice.created")
    costs.append(clock() - started)
empty = []
for _ in range(20_000):
    started = clock()
    empty.append(clock() - started)
print(json.dumps([(statistics.median(costs) - statistics.median(empty)) / 1e3]))
telemetry.close()
"""


def run(script, *arguments):
    environment = os.environ | {"PYTHONPATH": str(SDK)}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def measure_sdk(report):
    import tempfile

    imports = [run(IMPORT) for _ in range(RUNS)]
    with tempfile.TemporaryDirectory() as state:
        features = [run(FEATURE, f"{state}/{number}") for number in range(RUNS)]
    report.sdk(
        statistics.median(cost for [cost] in features),
        statistics.median(milliseconds for milliseconds, _ in imports),
        statistics.median(mebibytes for _, mebibytes in imports),
    )
