"""make bench: ratios measured in one run, printed as a table and written to RESULTS.md."""

import asyncio
import os
import statistics
import sys
import tempfile
from pathlib import Path

from bench import capacity
from bench.fleet import Fleet, database, query, send, settle, write
from bench.receiving import Receiving
from bench.report import Report
from bench.sdk import measure_sdk
from bench.servers import free_port, make_places, telemetry_server
from bench.spent import spent
from bench.storage import copy_rate, cost_of_indexes, size_per_ping

FLEET = 20_000
ROUNDS = 3
SECONDS = 4
BATCH = 500


def main():
    os.environ["TELEMETRY_JOBS"] = "false"  # ingest beside the jobs is measured by bench.scale
    report = Report()
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        data = Path(home, "data")
        Path(home).chmod(0o755)
        make_places(data / "geoip")
        fleet = enrol(data)
        measure_singles(report, data, fleet)
        measure_batches(report, data, fleet)
        report.spent = {
            connections: spent(data, lambda: fresh_requests(data, fleet), connections)
            for connections in (64, 256)
        }
    measure_sdk(report)
    report.finish()


def enrol(data):
    """A fleet in which each member has sent one ping, so that normal operation follows."""
    port = free_port()
    with telemetry_server(data, port, 1):
        [product] = query(data, "SELECT slug, product_id FROM products")
        fleet = Fleet(product["slug"], product["product_id"], data, FLEET)
        send(port, 64, 30, fleet.singles(FLEET), data)
        settle(fleet, data)
    return fleet


def fresh_requests(data, fleet):
    settle(fleet, data)
    path = data.parent / "requests"
    write(fleet.singles(SECONDS * 10_000), path)
    return path


def measure_singles(report, data, fleet):
    """Two windows of each server: in the first, most uploads are their installation's first since its start."""
    receiving = Receiving(Bench(data, fleet), SECONDS)
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        receiving.round()
    report.receiving(receiving)
    report.capacity(capacity.measure(receiving.bench, receiving.ours[capacity.AS_THE_SDK]))


class Bench:
    """The fleet and its database, for `Receiving`."""

    def __init__(self, data, fleet):
        self.data, self.fleet, self.dsn = data, fleet, database(data)
        self.requests = data.parent / "requests"

    def settle(self):
        settle(self.fleet, self.data)

    def write(self, count):
        """`count` requests of one ping, none of them sent before."""
        write(self.fleet.singles(count), self.requests)

    def pings(self):
        return query(self.data, "SELECT count(*) FROM pings")[0][0]


def measure_batches(report, data, fleet):
    rates, copies = [], []
    port = free_port()
    with telemetry_server(data, port, 1):
        for _ in range(ROUNDS):
            settle(fleet, data)
            requests = fleet.batches(SECONDS * 120, BATCH)
            load = send(port, 8, SECONDS, requests, data)
            assert load.refused == 0
            rates.append(load.rate * BATCH)
            copies.append(asyncio.run(copy_rate(database(data), BATCH)))
        report.batches(statistics.median(rates), statistics.median(copies), BATCH)
        report.size(*asyncio.run(size_per_ping(database(data))))
        report.indexes(asyncio.run(cost_of_indexes(database(data), database(data, "postgres"), BATCH)))


if __name__ == "__main__":
    main()
