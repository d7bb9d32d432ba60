"""What comes at the server, one after the other. Each function is an attack and gives what was seen."""

import asyncio
import gzip
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp
from installation import post
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from patience import patient
from receive.test_floods import MIB, NO_HTTP, SECRET, _flood
from receive.test_leniency import OTHERS, with_member
from receive.test_slow_lane import EXPENSIVE

from hostile_day.stand import ATTACKER, PROXY

TESTS = Path(__file__).parent.parent
ATTACKS = []


@dataclass
class Attack:
    """`bound`: seconds within which each upload of a customer is acknowledged, during the attack and after it."""

    name: str
    expected: str
    function: object
    bound: float
    workers_stay: bool
    log_bytes: int


def attack(name, expected, *, bound=10, workers_stay=True, log_bytes=16_384):
    def register(function):
        ATTACKS.append(Attack(name, expected, function, patient(bound), workers_stay, log_bytes))
        return function

    return register


def check(true, said):
    if not true:
        raise AssertionError(said)


@asynccontextmanager
async def from_address(local):
    """A session of connections from that loopback address."""
    connector = aiohttp.TCPConnector(local_addr=(local, 0), force_close=True, limit=16)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def uploaded(installation, session, body, **headers):
    signed = {"Telemetry-Signature": installation.sign(body), "Content-Type": "application/json"}
    return await post(f"{installation.url}/v1/pings", body, signed | headers, session)


async def uploaded_by_all(stand, address, pings, **headers):
    """Uploads over as many connections, so that both workers get some; fails unless all are accepted."""
    installation = await stand.enrolled()
    async with from_address(PROXY) as session:
        for _ in range(pings):
            body = installation.upload(installation.ping())
            answer = await uploaded(installation, session, body, **{"X-Forwarded-For": address}, **headers)
            check(answer.status == 200, f"a ping from {address} got {answer.status}")
    return installation


# ── the clock: first, for what was received by a clock ahead is counted a quarter of an hour later ──


@attack(
    "a start with the clock 500 days ahead, then a right one",
    "nothing forgotten; jobs run; uploads go on",
    bound=240,
    workers_stay=False,
    log_bytes=65_536,
)
async def clock_ahead(stand, small):
    from faults.test_clock import LIBRARIES, ClockedServer

    check(LIBRARIES, "libfaketime is not here: apt-get install faketime")
    check(await asyncio.to_thread(stand.stop) == 0, "SIGTERM")
    ahead = ClockedServer(stand.place)
    try:
        await asyncio.to_thread(ahead.start, timedelta(days=500))
        kept = await stand.fetch("SELECT count(*) FROM pings")
        await asyncio.sleep(5 if small else 45)
        left = await stand.fetch("SELECT count(*) FROM pings")
        await asyncio.to_thread(ahead.stop)
    finally:
        if ahead.process and ahead.process.poll() is None:
            ahead.process.kill()
        for path in ahead.shared:
            path.unlink(missing_ok=True)
        await asyncio.to_thread(stand.start)
    check(left == kept, f"{left[0][0]} of {kept[0][0]} pings are left")
    await stand.until_ready(200, 60, in_a_row=4)
    code, said = await asyncio.to_thread(stand.run, "run", "make partitions")
    check(code == 0, f"run 'make partitions': exit code {code}: {said[:200]}")
    return f"{kept[0][0]} pings kept"


@attack(
    "a clock that is set while serving",
    "nothing forgotten; uploads go on meanwhile, but 500 days behind they get 503; jobs run afterwards",
    bound=240,
    workers_stay=False,
    log_bytes=131_072,
)
async def clock_set(stand, small):
    from faults.test_clock import LIBRARIES, ClockedServer

    check(LIBRARIES, "libfaketime is not here: apt-get install faketime")
    check(await asyncio.to_thread(stand.stop) == 0, "SIGTERM")
    clocked = ClockedServer(stand.place)
    clocked.listen = stand.listen
    offsets = [timedelta(days=500), timedelta(days=-500)]
    if not small:
        offsets += [timedelta(hours=8), timedelta(days=40), timedelta(hours=-8), timedelta(days=-40)]
    try:
        await asyncio.to_thread(clocked.start)
        for off in offsets:
            copy, refused = await stand.enrolled(), off < timedelta(days=-200)
            await clocked.set(off)
            [(before,)] = await stand.fetch("SELECT count(*) FROM pings")
            answer = await copy.send()
            check(answer.status == (503 if refused else 200), f"an upload at {off} got {answer.status}")
            await asyncio.sleep(2 if small else 8)
            [(now,)] = await stand.fetch("SELECT count(*) FROM pings")
            check(now == before if refused else now > before, f"at {off}: {before} pings, then {now}")
            clocked.set_clock(timedelta(0))
            await asyncio.sleep(8)  # it looks every five seconds
            (clocked.place / "log").write_bytes(b"")
        await asyncio.to_thread(clocked.stop)
    finally:
        if clocked.process and clocked.process.poll() is None:
            clocked.process.kill()
        for path in clocked.shared:
            path.unlink(missing_ok=True)
        await asyncio.to_thread(stand.start)
    await stand.until_ready(200, 60, in_a_row=4)
    code, said = await asyncio.to_thread(stand.run, "run", "make partitions")
    check(code == 0, f"run 'make partitions': exit code {code}: {said[:200]}")
    return f"{len(offsets)} times set, {now} pings kept"


# ── the keyring ─────────────────────────────────────────────────────────────────────────────


@attack("keyring moved away and back", "/readyz 503 while away, copies served, no new file, 200 when back")
async def keyring_away(stand, small):
    file, moved = stand.data / "keyring.json", stand.data / "moved.json"
    good = file.read_bytes()
    file.rename(moved)
    try:
        began = time.monotonic()
        checks = await stand.until_ready(503, 30, in_a_row=4)
        noticed = time.monotonic() - began
        check(not checks["keyring"]["ok"], "/readyz does not name the keyring")
        for _ in range(4):
            answer = await (await stand.enrolled()).send()
            check(answer.status == 200, f"a copy that enrolled meanwhile got {answer.status}")
        await asyncio.sleep(1 if small else 10)
        check(not file.exists(), "the server made a new keyring")
    finally:
        moved.replace(file)
    await stand.until_ready(200, 30, in_a_row=4)
    check(file.read_bytes() == good, "the file is another one")
    return f"503 after {noticed:.1f} s; 4 copies enrolled and served meanwhile"


@attack("another keyring, and half a keyring, in its place", "/readyz 503, copies served, 200 when put back")
async def keyring_replaced(stand, small):
    file = stand.data / "keyring.json"
    good = file.read_bytes()
    document = json.loads(good)
    document["masters"] = {key: master | {"secret": "ab" * 32} for key, master in document["masters"].items()}
    stranger = await stand.enrolled()
    stranger.key = "k9"  # a key that is not known makes a worker look into the file
    for wrong in (json.dumps(document).encode(), good[:100]):
        try:
            _replace(file, wrong)
            for _ in range(8):
                await stranger.send()
            await stand.until_ready(503, 30)
            answer = await (await stand.enrolled()).send()
            check(answer.status == 200, f"a copy that enrolled meanwhile got {answer.status}")
        finally:
            _replace(file, good)
        for _ in range(8):
            await stranger.send()
        await stand.until_ready(200, 30, in_a_row=4)
    return "2 wrong files noticed"


def _replace(file, content):
    beside = file.with_name("beside.json")
    beside.write_bytes(content)
    beside.chmod(0o600)
    beside.replace(file)


# ── shapes ──────────────────────────────────────────────────────────────────────────────────


def _shapes():
    """Eight MiB each, a few KiB as gzip."""
    size = 8 * MIB - 4_096
    deep = b'{"pings":[{"x":' + b"[" * 4_000_000 + b"]" * 4_000_000 + b"}]}"
    pairs = b",".join([b"[{}]"] * (size // 5))
    return {
        "empty objects": EXPENSIVE,
        "nested lists": gzip.compress(deep),
        "nested objects": gzip.compress(
            b'{"pings":[' + b'{"a":' * 1_300_000 + b"1" + b"}" * 1_300_000 + b"]}"
        ),
        "one key over and over": gzip.compress(b'{"pings":[{' + b",".join([b'"a":1'] * (size // 6)) + b"}]}"),
        "keys": gzip.compress(b'{"pings":[{' + b",".join(b'"%x":1' % n for n in range(700_000)) + b"}]}"),
        "a number": gzip.compress(b'{"pings":[{"sequence":' + b"9" * size + b"}]}"),
        "nulls": gzip.compress(b'{"pings":[' + b",".join([b"null"] * (size // 5)) + b"]}"),
        "lists of objects": gzip.compress(b'{"pings":[{"os":[' + pairs + b"]},{}]}"),
    }


@attack("signed gzip shapes of 8 MiB, deep and wide", "answered below 500 or 429; no upload waits over 10 s")
async def shapes(stand, small):
    forms = await asyncio.to_thread(_shapes)
    installation = await stand.enrolled()
    statuses = {}

    async def sends(body, session):
        answer = await uploaded(installation, session, body, **{"Content-Encoding": "gzip"})
        statuses[answer.status] = statuses.get(answer.status, 0) + 1

    async with from_address(ATTACKER) as session:
        for _ in range(1 if small else 6):
            for body in forms.values():
                await asyncio.gather(*(sends(body, session) for _ in range(4)))
    check(set(statuses) <= {200, 400, 413, 422, 429}, f"answers {statuses}")
    return f"answers {_counted(statuses)}"


def _counted(numbers):
    return ", ".join(f"{number} x {status}" for status, number in sorted(numbers.items(), key=str))


# ── connections and bytes ───────────────────────────────────────────────────────────────────


@attack("2,400 silent connections at 1,024 files", "uploads go on, silent ones closed, few lines of log")
async def silence(stand, small):
    host, port = stand.listen.split(":")
    silent = []
    try:
        for _ in range(2_400):
            connection = socket.socket()
            connection.settimeout(5)
            connection.bind((ATTACKER, 0))
            silent.append(connection)
            with suppress(OSError):  # what the server does not accept at once
                connection.connect((host, int(port)))
            if len(silent) % 50 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(12)
        closed = sum(_is_closed(connection) for connection in silent)
        if not small:
            await asyncio.sleep(15)
            closed = sum(_is_closed(connection) for connection in silent)
            check(closed == len(silent), f"only {closed} of {len(silent)} closed after 27 s")
    finally:
        for connection in silent:
            connection.close()
    return f"{closed} of {len(silent)} closed by the server after {12 if small else 27} s"


def _is_closed(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) == b"" or True
    except BlockingIOError:
        return False
    except OSError:
        return True


@attack("unsigned bodies of 1 MiB", "at most 250 MiB more per worker, 150 MiB of it back at most", bound=20)
async def bodies(stand, small):
    count = 400 if small else 2_000
    before = peak = stand.memory
    workers = len(stand.workers)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as strangers:
        flood = asyncio.wrap_future(strangers.submit(_flood, stand.url, "whole", count))
        while not flood.done():
            peak = max(peak, stand.memory)
            await asyncio.sleep(0.1)
        statuses = await flood
    await asyncio.sleep(2 if small else 12)
    after = stand.memory
    seen = (
        f"{count} bodies: {before} MiB before, {peak} at most, {after} after; {statuses.count(503)} refused"
    )
    check(peak - before < (150 if small else 250) * workers, seen)
    check(after - before < 150 * workers, seen)
    return seen


@attack("readers that never read", "below 1 MiB of kernel memory each; closed within 75 s")
async def stalled(stand, small):
    host, port = stand.listen.split(":")
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    readers = []
    try:
        for _ in range(20 if small else 60):
            reader = socket.create_connection((host, int(port)), source_address=(ATTACKER, 0))
            reader.setblocking(False)
            readers.append(reader)
            with suppress(BlockingIOError, ConnectionError):
                while True:
                    reader.send(ask * 100)
            await asyncio.sleep(0)
        await asyncio.sleep(3)
        ports = {reader.getsockname()[1] for reader in readers}
        held = _held_by_the_kernel(int(port), ports)
        largest = max(held.values(), default=0)
        check(largest < MIB, f"{largest} bytes wait for one reader")
        if small:
            return f"{len(held)} readers, {largest >> 10} KiB at most"
        await asyncio.sleep(75)
        left = len(_held_by_the_kernel(int(port), ports))
        check(left == 0, f"{left} of {len(readers)} still there after 75 s")
    finally:
        for reader in readers:
            reader.close()
    return f"{len(readers)} readers, {largest >> 10} KiB at most, all closed after 75 s"


def _held_by_the_kernel(port, peers):
    """Bytes sent and not taken, by the port of the client, of established connections."""
    held = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, queues, *_ = line.split()
        peer = int(remote.split(":")[1], 16)
        if int(local.split(":")[1], 16) == port and peer in peers and state == "01":
            held[peer] = int(queues.split(":")[0], 16)
    return held


@attack("what is no HTTP", "400 or closed; lines of log rationed, counted and without content")
async def noise(stand, small):
    host, port = stand.listen.split(":")
    before = stand.log.stat().st_size
    answered = 0
    for data in NO_HTTP * (20 if small else 400):
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=(ATTACKER, 0))
        with suppress(ConnectionError, TimeoutError):
            writer.write(data)
            async with asyncio.timeout(15):
                answer = await reader.read(MIB)
            check(not answer or answer.startswith(b"HTTP/1.1 400"), f"answered {answer[:40]!r}")
            check(SECRET not in answer, "the answer has what was sent")
            check(b"\r\nserver:" not in answer.lower(), "the answer names its software")
            answered += bool(answer)
        writer.close()
    said = stand.logged_since(before)
    check("not HTTP" in said, "nothing of it in the log")
    return f"{answered} answers, {len(said)} bytes of log"


# ── other systems ───────────────────────────────────────────────────────────────────────────

FORWARDED = {
    "203.0.113.9": "203.0.113.9",
    "203.0.113.9,": "203.0.113.9",
    f"203.0.113.9, , {PROXY}": "203.0.113.9",
    " ,203.0.113.9 ,, ": "203.0.113.9",
    "192.0.2.1, 203.0.113.9": "203.0.113.9",
    "203.0.113.9:4711": "203.0.113.9",
    "[2001:db8::9]:80": "2001:db8::9",
    "::ffff:203.0.113.9": "203.0.113.9",
    "<script>": PROXY,
    "'; DROP TABLE pings --": PROXY,
    "," * 3_000: PROXY,
}


@attack("oddities of X-Forwarded-For", "the nearest address that is no proxy, and only of the proxy believed")
async def forwarded(stand, small):
    for header, right in FORWARDED.items():
        installation = await uploaded_by_all(stand, header, 1)
        await _has_address(stand, installation, right)
    stranger = await stand.enrolled()
    async with from_address(ATTACKER) as session:
        body = stranger.upload(stranger.ping())
        await uploaded(stranger, session, body, **{"X-Forwarded-For": "203.0.113.9"})
    await _has_address(stand, stranger, ATTACKER)
    return f"{len(FORWARDED) + 1} forms"


async def _has_address(stand, installation, right):
    [(found,)] = await stand.fetch(
        "SELECT host(client_address) FROM pings WHERE installation_id = $1::text::uuid", installation.id
    )
    check(found == right, f"the address is {found}, not {right}")


@attack("uploads of PHP, .NET, Go and Jackson", "accepted")
async def other_languages(stand, small):
    installation = await stand.enrolled()
    for name, (path, value) in OTHERS.items():
        answer = await installation.send(with_member(installation.ping(), path, value))
        check(answer.status == 200 and answer.statuses == ["accepted"], f"{name}: {answer.body[:200]}")
    body = gzip.compress(installation.upload(installation.ping(usage={"features": []})))
    async with from_address(ATTACKER) as session:
        answer = await uploaded(installation, session, body, **{"Content-Encoding": "x-gzip"})
        check(answer.status == 200, f"x-gzip: {answer.status}")
        for path in ("//v1/pings", "/v1/pings/"):
            body = installation.upload(installation.ping())
            signed = {"Telemetry-Signature": installation.sign(body)}
            answer = await post(f"{stand.url}{path}", body, signed, session)
            check(answer.status == 200, f"{path}: {answer.status}")
    return f"{len(OTHERS) + 3} forms"


@attack("messages of the shop that come late", "refund ends, renewal renews, sale fills in; other types 204")
async def shop(stand, small):
    from show.test_show_shop import headers, messages_of

    number = 0
    for name in ("late-refund", "late-renewal", "late-created", "other-types"):
        for message in messages_of(f"{name}.ndjson"):
            number += 1
            if isinstance(message.get("data"), dict) and "product" in message["data"]:
                message["data"]["product"] = "example"
            body = json.dumps(message).encode()
            answer = await post(f"{stand.url}/webhooks/shop", body, headers(body, f"msg_{number}"))
            check(answer.status == 204, f"{name}: {answer.status} {answer.body[:200]}")
    found = await stand.fetch(
        "SELECT order_reference, status, seats, expires_at::date::text FROM licenses ORDER BY key_hint, expires_at"
    )
    states = {(reference, status) for reference, status, *_ in found}
    check(("4712", "refunded") in states, f"the late refund: {found}")
    check(("4711", "suspended") in states, f"the late sale: {found}")
    check(any(row[3] and row[3] >= "2027-11-01" and row[0] is None for row in found), f"renewal: {found}")
    return f"{number} messages, {len(found)} licenses"


FILES = {
    "excel-scientific-keys.csv": {"wrong": 4},
    "key-zero-width.csv": {"new": 2},
    "excel-formulas.csv": {"new": 1, "wrong": 4},
    "trailing-empty-rows.csv": {"new": 1},
    "excel-cp1252.csv": {"wrong": 2},
    "old-mac.csv": {"new": 2},
    "excel-sep.csv": {"new": 1},
    "status-inactive.csv": {"wrong": 1},
    "upper-head.csv": {"new": 1},
    "epoch-dates.csv": {"new": 4},
}


@attack(
    "files of spreadsheets, imported beside the server", "good rows in, wrong ones named, exit code 0 or 1"
)
async def files(stand, small):
    folder = TESTS / "store" / "foreign_files"
    chosen = dict(list(FILES.items())[:3]) if small else FILES
    for name, right in chosen.items():
        command = ("license", "import", folder / name, "--product", "example", "--json")
        code, said = await asyncio.to_thread(stand.run, *command)
        check(code in {0, 1} and "Traceback" not in said, f"{name}: exit code {code}: {said[:200]}")
        summary = json.loads(said[said.index("{") : said.rindex("}") + 1])
        found = {outcome: summary[outcome] for outcome in ("new", "changed", "wrong") if summary[outcome]}
        check(found == right, f"{name}: {found}, not {right}")
    return f"{len(chosen)} files"


def damaged_database(path):
    """A database of AS numbers in which a map key of one record, of 2,201, points to what is no string."""
    writer = MMDBWriter(6, "Ours-ASN", ["en"], "test", ipv4_compatible=True)
    networks = [f"1.{i // 250}.{i % 250}.0/24" for i in range(1_100)]
    networks += [f"2001:db8:{i:x}::/48" for i in range(1_100)]
    for number, network in enumerate([*networks, "2a00:800::/48"]):
        operator = "Broken here" if network == "2a00:800::/48" else f"Org {number % 1_100}"
        record = {
            "autonomous_system_number": 64_500 + number % 1_100,
            "autonomous_system_organization": operator,
        }
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    data = bytearray(path.read_bytes())
    records = data.index(b"\x58autonomous_system_number")
    record = data.index(b"\xe2\x20\x00", data.index(b"Broken here") - 64)
    offset = data.index(b"s_system_number", records) - records
    data[record + 1 : record + 3] = bytes([0x20 | offset >> 8, offset & 255])
    path.write_bytes(data)


@attack("a damaged GeoIP file", "refused by install; found in place it ends no worker")
async def geoip(stand, small):
    source, directory = stand.place / "made.mmdb", stand.data / "geoip"
    await asyncio.to_thread(damaged_database, source)
    code, said = await asyncio.to_thread(stand.run, "geoip", "install", "--source", source)
    refused = code != 0
    directory.mkdir(exist_ok=True)
    placed = directory / "asn.mmdb"
    shutil.move(source, placed)
    placed.chmod(0o644)
    try:
        await asyncio.to_thread(stand.run, "geoip", "reload")
        await asyncio.sleep(2)
        await uploaded_by_all(stand, "2a00:800::7", 8)
    finally:
        placed.unlink()
    check(refused, f"install took it: {said[:200]}")
    return "install refused it; 8 pings from its network"


# ── careless operators ──────────────────────────────────────────────────────────────────────


@attack("what is written at the start, into a journal", "no link that signs an administrator in")
async def journal(stand, small):
    check("token=" not in stand.welcome, "it has the link")
    return "no link"


SETTINGS = {
    "PUBLIC_URL": "telemetry.example.com",
    "SESSION_HOURS": "99999999999",
    "TRUSTED_PROXIES": "0.0.0.0/0",
    "RETENTION_DAYS": "ping=99999999999,fact=400,usage=400",
    "DATABASE_URL": "postgresql://telemetry:hunter2@x/y@db/telemetry",
}


@attack("settings that hurt later", "each refused at the start, exit code 2, no piece of a password")
async def settings(stand, small):
    command = ("serve", "--data", stand.place / "other", "--listen", "127.0.0.1:0")
    ends = await asyncio.gather(
        *(
            asyncio.to_thread(_serve_for_a_moment, stand, command, {f"TELEMETRY_{name}": value})
            for name, value in SETTINGS.items()
        )
    )
    for name, (code, said) in zip(SETTINGS, ends, strict=True):
        check(code == 2, f"{name}={SETTINGS[name]}: exit code {code}")
        check(name in said and "hunter2" not in said and "x/y" not in said, f"{name}: {said[:200]}")
    return f"{len(SETTINGS)} settings"


def _serve_for_a_moment(stand, command, environment):
    process = subprocess.Popen(
        [*stand.program, *map(str, command)],
        env=stand.environment | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        return process.wait(60), process.stdout.read()
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(60)
        return "none: it serves", ""
    finally:
        process.stdout.close()


@attack("kill -9 of a worker", "another one within 30 s", bound=30, workers_stay=False)
async def worker_killed(stand, small):
    for _ in range(1 if small else 4):
        before = stand.workers
        os.kill(before[0], signal.SIGKILL)
        deadline = time.monotonic() + 30
        while len(set(stand.workers) - {before[0]}) < 2:
            check(time.monotonic() < deadline, "no new worker after 30 s")
            await asyncio.sleep(0.1)
    return f"{1 if small else 4} killed"


@attack("kill -9 of PostgreSQL", "another one within 60 s", bound=60)
async def postgresql_killed(stand, small):
    for _ in range(1 if small else 3):
        before = stand.postmaster
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError, ValueError, IndexError):
                if stand.postmaster != before:
                    break
            check(time.monotonic() < deadline, "no new PostgreSQL after 60 s")
            await asyncio.sleep(0.1)
        await stand.until_ready(200, 60)
    return f"{1 if small else 3} killed"


@attack(
    "PostgreSQL that hangs (SIGSTOP)", "/readyz 503 in time; ended and started again by itself", bound=150
)
async def postgresql_hangs(stand, small):
    before, stopped = stand.postmaster, set()
    for _ in range(3):  # those that it makes meanwhile, too
        for pid in set(stand.postgres_processes) - stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            stopped.add(pid)
    began, answers = time.monotonic(), []
    deadline = began + (8 if small else 20)
    while time.monotonic() < deadline:
        asked = time.monotonic()
        status, _ = await stand.readiness()
        answers.append((status, time.monotonic() - asked))
        await asyncio.sleep(0.2)
    check(
        {status for status, _ in answers} == {503}, f"/readyz is {sorted({status for status, _ in answers})}"
    )
    if small:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return f"hung for 8 s; /readyz after {max(took for _, took in answers):.1f} s at most"
    code, said = await asyncio.to_thread(stand.run, "doctor")
    failed = [line for line in said.splitlines() if line.startswith("✗")]
    check(code == 1 and any("PostgreSQL" in line for line in failed), f"doctor: exit code {code}: {failed}")
    while stand.postmaster == before:
        check(time.monotonic() - began < 120, "no other PostgreSQL after 120 s")
        await asyncio.sleep(0.5)
    return f"another PostgreSQL after {time.monotonic() - began:.0f} s; /readyz after {max(took for _, took in answers):.1f} s at most"


@attack(
    "a full disk",
    "uploads 503, /readyz 503 with why, doctor fails; all as before once there is room",
    bound=150,
    log_bytes=65_536,
)
async def disk_full(stand, small):
    if not stand.has_disk:
        return "not tried: only root can mount a small disk"
    filler = stand.data / "filler"
    installation, statuses = await stand.enrolled(), {}
    try:
        await asyncio.to_thread(_fill, filler)
        for _ in range(200):
            answer = await installation.send(*(installation.ping() for _ in range(300)))
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
            if statuses.get(503, 0) > 3:
                break
        check(set(statuses) <= {200, 503} and 503 in statuses, f"answers {statuses}")
        checks = await stand.until_ready(503, 30, in_a_row=4)
        failed = {name: found["detail"] for name, found in checks.items() if not found["ok"]}
        check({"pings", "database"} & failed.keys(), f"/readyz names {failed}")
        code, said = await asyncio.to_thread(stand.run, "doctor")
        check(code == 1 and "free some space" in said, f"doctor: exit code {code}: {said[:300]}")
    finally:
        filler.unlink(missing_ok=True)
    began = time.monotonic()
    await stand.until_ready(200, 120, in_a_row=4)
    return f"answers {_counted(statuses)}; /readyz: {failed}; ready {time.monotonic() - began:.0f} s after there was room"


def _fill(filler):
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 20, 4_096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


@attack(
    "SIGTERM, then a start over leftovers",
    "exit code 0 within 60 s; an empty postmaster.pid and a cut GeoIP installation stop no start",
    bound=120,
    workers_stay=False,
    log_bytes=65_536,
)
async def restarted(stand, small):
    host, port = stand.listen.split(":")
    for _ in range(16):
        with socket.create_connection((host, int(port)), source_address=(ATTACKER, 0)) as stranger:
            stranger.sendall(NO_HTTP[0])
            await asyncio.sleep(0.05)
    before = stand.log.stat().st_size
    began = time.monotonic()
    code = await asyncio.to_thread(stand.stop)
    took = time.monotonic() - began
    empty = stand.data / "postgres" / "postmaster.pid"
    empty.touch()
    (stand.data / "geoip").mkdir(exist_ok=True)
    (stand.data / "geoip" / ".install-abcdefgh").write_bytes(bytes(1_000))
    try:
        await asyncio.to_thread(stand.start)
    except AssertionError:
        empty.unlink(missing_ok=True)  # for the attacks that come after
        await asyncio.to_thread(stand.start)
        raise
    check(code == 0, f"exit code {code}")
    said = stand.logged_since(before)
    check("not HTTP" in said, "what was no HTTP is not counted at the end")
    return f"exit code 0 after {took:.1f} s"
