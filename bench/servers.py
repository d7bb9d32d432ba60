"""The processes a benchmark needs: the real server with its own PostgreSQL, bare aiohttp, load generators."""

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet

HERE = Path(__file__).parent
ROOT = HERE.parent


@dataclass
class Load:
    """What a load generator saw, and the seconds of CPU that it took to send and to read."""

    rate: float
    p50_ms: float
    p99_ms: float
    refused: int
    cpu_seconds: float


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, port, environment=None, directory=ROOT):
    """A program until the block ends, once it listens; gives its process."""
    process = subprocess.Popen(
        command, env=os.environ | (environment or {}), cwd=directory, stdout=subprocess.DEVNULL
    )
    try:
        _wait(port, process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait(port, process):
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            raise SystemExit("a server of the benchmark did not start")
        asyncio.run(asyncio.sleep(0.1))


def telemetry_server(data, port, workers):
    """The server as an operator runs it; it trusts forwarded addresses, so that places are looked up."""
    command = [
        sys.executable,
        "-m",
        "telemetry_server",
        "serve",
        "--data",
        str(data),
        "--product",
        "Bench",
        "--listen",
        f"127.0.0.1:{port}",
        "--workers",
        str(workers),
    ]
    return running(command, port, {"TELEMETRY_TRUSTED_PROXIES": "127.0.0.0/8"})


def bare_aiohttp(port, workers):
    return running([sys.executable, "-m", "bench.bare", str(port), str(workers)], port)


def wrk(port, connections, seconds, requests):
    """Connections that are kept, each with one request at a time."""
    before = cpu_of_children()
    done = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}",
            "--latency",
            "--timeout",
            "10",
            "-s",
            HERE / "requests.lua",
            f"http://127.0.0.1:{port}/v1/pings",
        ],
        env=os.environ | {"REQUESTS": str(requests)},
        capture_output=True,
        text=True,
        check=True,
    )
    rate = float(re.search(r"Requests/sec: +([\d.]+)", done.stdout)[1])
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    return Load(
        rate,
        _milliseconds("50%", done.stdout),
        _milliseconds("99%", done.stdout),
        int(refused[1]) if refused else 0,
        cpu_of_children() - before - float(re.search(r"read after ([\d.]+) s", done.stderr)[1]),
    )


def new_connections(port, clients, seconds, requests):
    """A new connection for each request, as the SDK sends; `clients` at a time."""
    command = [
        sys.executable,
        "-m",
        "bench.new_connections",
        str(port),
        str(clients),
        str(seconds),
        str(requests),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Load(**json.loads(done.stdout))


def cpu_of_children():
    """Seconds of CPU of the programs that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _milliseconds(percentile, text):
    value, unit = re.search(rf"{percentile} +([\d.]+)(us|ms|s)\b", text).groups()
    return float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


def make_places(directory):
    """Country and ASN files with a few thousand networks, under the addresses of the fleet."""
    directory.mkdir(parents=True, exist_ok=True)
    country, asn = (
        MMDBWriter(6, "GeoLite2-Country", ipv4_compatible=True),
        MMDBWriter(6, "GeoLite2-ASN", ipv4_compatible=True),
    )
    for first in (198, 203):
        for second in range(0, 256, 2):
            for third in range(0, 256, 16):
                network = IPSet([f"{first}.{second}.{third}.0/20"])
                country.insert_network(
                    network, {"country": {"iso_code": ["DE", "US", "FR", "IN", "BR"][(second + third) % 5]}}
                )
                asn.insert_network(
                    network,
                    {
                        "autonomous_system_number": 64500 + second,
                        "autonomous_system_organization": f"Network {second}",
                    },
                )
    country.to_db_file(str(directory / "country.mmdb"))
    asn.to_db_file(str(directory / "asn.mmdb"))
