"""What a fleet needs: the cost of a ping as the SDK sends it, and the tables that follow from it.

    python -m bench.capacity        writes the tables of docs/capacity.md anew, from the costs that were measured

`make bench` measures and writes the costs: telemetry_server/cli/doctor/measured.json.
"""

import http.client
import math
import ssl
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from bench import results, scale
from bench.cpu import postmaster, used
from bench.fleet import query
from bench.receiving import Shape, middle
from bench.servers import (
    ROOT,
    cpu_of_children,
    free_port,
    make_places,
    new_connections,
    running,
    telemetry_server,
)
from telemetry_server.cli.doctor import load
from telemetry_server.cli.doctor.load import BUSY, Costs

PAGE = ROOT / "docs" / "capacity.md"
MEASURED = Path(load.__file__).with_name("measured.json")
AS_THE_SDK = Shape(1, 16, kept=False)
SECONDS = 4
DAYS = 30
SIMULATED = 20_000  # installations, with a ping a day
FLEETS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
INTERVALS = {"hour": 3_600, "6 hours": 21_600, "day": 86_400, "week": 604_800}
RETENTION = 90
CORES = (2, 4, 8, 16, 32, 64)


def measure(bench, windows):
    """The costs. `windows` are those of our server in the shape AS_THE_SDK; `bench` has the fleet that they used."""
    wal, worker = _wal(bench)
    jobs, ping, installation = _at_rest()
    costs = Costs(
        measured_on=results.today(),
        machine=results.hardware(),
        server=round(middle(windows, "server")),
        postgresql=round(middle(windows, "postgresql")),
        tls=round(_tls()),
        jobs=round(jobs),
        ping=round(ping),
        installation=round(installation),
        wal=round(wal),
        worker_mebibytes=round(worker),
    )
    MEASURED.write_bytes(msgspec.json.format(msgspec.json.encode(costs)) + b"\n")
    write_page(costs)
    return costs


def _wal(bench):
    """Bytes of WAL for a ping, and the most MiB of memory of the server process."""
    with telemetry_server(bench.data, port := free_port(), 1) as process:
        bench.settle()
        bench.write(SECONDS * 4_000)
        [[before]] = query(bench.data, "SELECT pg_current_wal_insert_lsn()")
        sent = new_connections(port, AS_THE_SDK.connections, SECONDS, bench.requests)
        [[after]] = query(bench.data, "SELECT pg_current_wal_insert_lsn()")
        status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
        return (after - before) / (sent.rate * SECONDS), int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _at_rest():
    """µs of CPU of the jobs for a ping, bytes of a ping with its roll-ups, bytes of an installation.

    Of a simulated fleet with a ping a day: the roll-up by day, as large as the pings, has a row for each.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        data = Path(home, "data")
        Path(home).chmod(0o755)
        make_places(data / "geoip")
        with telemetry_server(data, free_port(), 1) as process:
            size = "--installations", str(SIMULATED), "--pings", str(SIMULATED * DAYS), "--days", str(DAYS)
            scale.run(data, "simulate", "--product", scale.PRODUCT, *size, "--no-counts")
            pings = scale.sql(data, "SELECT count(*) FROM pings")[0][0]
            before = sum(used(process.pid, postmaster(data))) + cpu_of_children()
            scale.run_roll_ups(data)
            spent = sum(used(process.pid, postmaster(data))) + cpu_of_children() - before
            scale.sql(data, "VACUUM (ANALYZE)")
            table = scale.sizes(data)
            installations = scale.sql(data, "SELECT count(*) FROM installations")[0][0]
    of_pings = sum(table[name] for name in ("pings", "installation_days"))
    of_fleet = sum(table[name] for name in ("installations", "installation_facts", "states", "changes"))
    return spent * 1e6 / pings, of_pings / pings, of_fleet / installations


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────

_NGINX = """
daemon off; worker_processes 1; pid {home}/pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{
    access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
    upstream server {{ server 127.0.0.1:{behind}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {home}/cert.pem; ssl_certificate_key {home}/key.pem;
        location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


def _tls():
    """µs of CPU of nginx for a request of 2 KiB on a new connection: one handshake each, an ECDSA certificate."""
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        Path(home).chmod(0o755)
        subprocess.run(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
            f"-keyout {home}/key.pem -out {home}/cert.pem".split(),
            check=True,
            capture_output=True,
        )
        port, behind = free_port(), free_port()
        Path(home, "nginx.conf").write_text(_NGINX.format(home=home, port=port, behind=behind), "utf-8")
        command = ["/usr/sbin/nginx", "-c", f"{home}/nginx.conf", "-p", home]
        answering = [sys.executable, "-m", "bench.bare", str(behind), "1"]
        with running(answering, behind), running(command, port) as nginx:
            before = used(nginx.pid)[0]
            with ThreadPoolExecutor(4) as executor:
                sent = sum(executor.map(_handshakes, [port] * 4))
            return (used(nginx.pid)[0] - before) * 1e6 / sent


def _handshakes(port):
    """The number of requests of SECONDS, each on a new connection with a full handshake."""
    sent, ends = 0, time.monotonic() + SECONDS
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.options |= ssl.OP_NO_TICKET
    while time.monotonic() < ends:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
        connection.request("POST", "/v1/pings", b"x" * 2_048, {"Content-Type": "application/json"})
        connection.getresponse().read()
        connection.close()
        sent += 1
    return sent


# ── the page ────────────────────────────────────────────────────────────────────────────────


def write_page(costs):
    results.write("fleet", fleet_text(costs), PAGE)


def fleet_text(costs):
    """The section "What a fleet needs" of docs/capacity.md."""
    cpu = costs.cpu_seconds * 1e6
    return f"""## What a fleet needs

Computed by `make bench` from what it measured on {costs.measured_on} ({costs.machine}), in the shape in which the SDK sends: one
ping on a new connection. A ping costs **{cpu:,.0f} µs of CPU**: server {costs.server:,.0f}, PostgreSQL {costs.postgresql:,.0f}, TLS at the proxy
(nginx, one handshake a ping) {costs.tls:,.0f}, roll-ups {costs.jobs:,.0f}; **{costs.ping:,.0f} bytes** on disk with its indexes and roll-ups;
{costs.wal:,.0f} bytes of WAL, full pages included. An installation takes {costs.installation:,.0f} bytes, a server process {costs.worker_mebibytes:,.0f} MiB of memory.

The tables are for one machine with server, PostgreSQL and proxy, at most {BUSY:.0%} busy, and pings that come evenly, as the SDK
spreads them. Disk is for {RETENTION} days of pings; leave as much again free for WAL, backups and VACUUM. Memory: what is
updated daily, the rows of installations, should fit; add 1 GiB for the system and 128 MiB for PostgreSQL's own buffers.
`telemetry-server doctor` compares the load of the last day with this.

{_fleets(costs)}

Beyond the cores of one machine the rows are arithmetic, not measurements:

{_ends(costs)}

Where the database ends first: its part of a ping ({costs.postgresql + costs.jobs:,.0f} µs) stays on one machine, while servers and proxies can run
on others. The WAL of {costs.pings_a_second(64):,.0f} pings a second is {_bytes(costs.pings_a_second(64) * costs.wal)} a second, which a disk has to flush."""


def _fleets(costs):
    lines = [
        "| installations | a ping every | pings a second | cores | memory | disk | WAL a day |",
        "| --- |" + " --- |" * 6,
    ]
    for fleet in FLEETS:
        for name, seconds in INTERVALS.items():
            rate = fleet / seconds
            cores = costs.cores(rate)
            memory = (
                (1 << 30) + (128 << 20) + fleet * costs.installation + cores * costs.worker_mebibytes * 2**20
            )
            cells = (
                f"{fleet:,}",
                name,
                f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}",
                f"{cores:,}",
                _bytes(memory),
                _bytes(costs.disk(fleet, rate, RETENTION)),
                _bytes(rate * load.DAY_SECONDS * costs.wal),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ends(costs):
    lines = ["| cores | pings a second | installations with a ping a day |", "| --- | --- | --- |"]
    for cores in CORES:
        rate = costs.pings_a_second(cores)
        lines.append(f"| {cores} | {rate:,.0f} | {float(f'{rate * load.DAY_SECONDS:.2g}'):,.0f} |")
    return "\n".join(lines)


def _bytes(size):
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log(max(size, 1), 1024)), len(units) - 1)
    number = size / 1024**power
    return f"{number:,.0f} {units[power]}" if number >= 10 else f"{number:.1f} {units[power]}"


if __name__ == "__main__":
    write_page(load.costs())
