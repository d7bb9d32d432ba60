"""Floods from strangers, by real sockets against a real server process: ordinary pings go on, memory and log stay small."""

import asyncio
import contextlib
import gzip
import json
import multiprocessing
import os
import resource
import socket
import struct
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import pytest
from installation import Installation
from patience import patient

SECRET = b"tlm_secret-of-somebody"
FORM = b"Host: x\r\nContent-Length: 1048576\r\n\r\n"
MIB = 2**20


def address(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


@asynccontextmanager
async def connected(server, limit=2**16):
    reader, writer = await asyncio.open_connection(*address(server), limit=limit)
    try:
        yield reader, writer
    finally:
        writer.close()


async def everything(reader, seconds=20):
    """What comes until the server closes."""
    got = b""
    with suppress(ConnectionError):
        async with asyncio.timeout(seconds):
            while piece := await reader.read(2**16):
                got += piece
    return got


async def exchange(server, data, *, half_close=False, seconds=20):
    """What the server answers to these bytes until it closes the connection."""
    async with connected(server) as (reader, writer):
        writer.write(data)
        if half_close:
            writer.write_eof()
        return await everything(reader, seconds)


def parts(answer):
    """Status, headers by lower-case name and body of the first answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


def is_problem(answer, status):
    found, headers, body = parts(answer)
    document = json.loads(body)
    assert (found, document["status"], headers["content-type"]) == (
        status,
        status,
        "application/problem+json",
    )
    assert headers["connection"] == "close"
    assert "server" not in headers
    return document


def memory(server):
    """MiB that the process has in memory."""
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) // 1024


def files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def lines(server):
    """The log; every line of it is JSON."""
    return [json.loads(line) for line in server.errors().splitlines()]


# ── connections ─────────────────────────────────────────────────────────────────────────────


async def test_more_silent_connections_than_files_end_no_uploads(make_server):
    server = make_server(open_files=(256, 1024))
    installation = await Installation.enrolled(server)
    silent = [socket.create_connection(address(server)) for _ in range(1_100)]
    try:
        for _ in range(5):
            assert (await asyncio.wait_for(installation.send(), patient(10))).status == 200
            assert files(server) < 1024
    finally:
        for each in silent:
            each.close()
    assert "eyring" not in server.errors()
    assert len(server.errors()) < 4_000
    assert (await installation.send()).status == 200


async def test_the_longest_silent_is_closed_first(make_server):
    server = make_server(open_files=(160, 160))  # 80 connections
    async with connected(server) as (reader, writer), connected(server) as (silent, _):
        await asyncio.sleep(0.2)
        others = [await asyncio.open_connection(*address(server)) for _ in range(78)]
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"}")
        async with connected(server) as (_, newcomer):
            newcomer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await asyncio.wait_for(silent.read(), patient(5)) == b""
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"}")
        for _, other in others:
            other.close()
    [capacity] = [check for check in await checks(server) if check["name"] == "capacity"]
    assert (capacity["ok"], capacity["needed"]) == (False, False)
    assert "80 connections" in capacity["detail"]


async def checks(server):
    answer = await exchange(server, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return json.loads(parts(answer)[2])["checks"]


async def test_whoever_says_nothing_is_closed_after_ten_seconds(common_server):
    began = time.monotonic()
    async with connected(common_server) as (reader, _):
        assert await everything(reader) == b""
    assert 9 < time.monotonic() - began < patient(18)


async def test_whoever_dribbles_a_head_is_told_after_five_seconds(common_server):
    async with connected(common_server) as (reader, writer):
        dribble = asyncio.create_task(_dribble(writer))
        began = time.monotonic()
        is_problem(await everything(reader), 408)
        assert 4 < time.monotonic() - began < patient(13)
        dribble.cancel()


async def _dribble(writer):
    writer.write(b"GET / HTTP/1.1\r\nHost: ")
    while not writer.is_closing():
        await asyncio.sleep(0.5)
        writer.write(b"x")


async def test_a_process_without_files_says_so_and_blames_nothing_else(make_server):
    """An unknown key makes the server look into its keyring again."""
    server = make_server()
    installation = await Installation.enrolled(server)
    await installation.send()
    installation.key = "k999"
    body = installation.upload(installation.ping())
    head = f"POST /v1/pings HTTP/1.1\r\nHost: x\r\nTelemetry-Signature: {installation.sign(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    async with connected(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"}")
        before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        for _ in range(20):
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"}")
            assert parts(answer)[0] == 503
            assert b"out_of_files" in answer
        refused = [socket.create_connection(address(server)) for _ in range(30)]  # accept() fails
        await asyncio.sleep(3)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
        for each in refused:
            each.close()
    installation.key = "k1"
    for _ in range(50):
        with suppress(AssertionError, OSError):
            assert (await installation.send()).status == 200
            break
        await asyncio.sleep(0.2)
    else:
        pytest.fail("no upload is taken any more")
    assert "Restore" not in server.errors()
    said = [line for line in lines(server) if "files" in str(line)]
    assert 1 <= len(said) <= 12, said


# ── bytes ───────────────────────────────────────────────────────────────────────────────────


async def _post_slowly(server, head, body):
    """Sends all but the end, waits for others to do so, and sends the end; gives the status."""
    try:
        async with connected(server) as (reader, writer):
            writer.write(head + body[:-1])
            answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
            await asyncio.wait({answer}, timeout=5)
            if not answer.done():
                writer.write(body[-1:])
            answer = await asyncio.wait_for(answer, patient(20))
            if b" 503 " in answer:
                assert b"Retry-After: " in answer
                assert b"application/problem+json" in answer
            return int(answer.split()[1])
    except (ConnectionError, asyncio.IncompleteReadError):
        return None  # the system may reset what was closed while it was written to


def _flood(url, kind, count):
    """The statuses of so many posts at once; for a process of its own."""

    async def posts():
        server = SimpleNamespace(url=url)
        return await asyncio.gather(*(_post_slowly(server, *BODIES[kind]) for _ in range(count)))

    return asyncio.run(posts())


BODIES = {
    "whole": (b"POST /v1/pings HTTP/1.1\r\n" + FORM, b"x" * MIB),
    "chunked": (
        b"POST /v1/enroll HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"8000\r\n" + b"x" * 0x8000 + b"\r\n",
    ),
    "heads": (b"GET / HTTP/1.1\r\nHost: x\r\n", (b"X: " + b"x" * 8_000 + b"\r\n") * 100),
}
BODIES["chunked"] = (BODIES["chunked"][0], BODIES["chunked"][1] * 31 + b"0\r\n\r\n")


@pytest.mark.slow(reason="what a flood took is given back within ten seconds")
@pytest.mark.parametrize(("kind", "count"), [("whole", 2_000), ("chunked", 400), ("heads", 400)])
async def test_bodies_of_strangers_take_a_bounded_memory_and_give_it_back(server, kind, count):
    installation = await Installation.enrolled(server)
    await installation.send()
    before = peak = memory(server)
    ordinary = []
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as strangers:
        flood = asyncio.wrap_future(strangers.submit(_flood, server.url, kind, count))
        while not flood.done():
            sent = asyncio.create_task(installation.send())
            while not sent.done():
                peak = max(peak, memory(server))
                await asyncio.sleep(0.05)
            ordinary.append((await sent).status)
        statuses = await flood
    assert set(ordinary) == {200}, "pings of ordinary size go on"
    assert {503, 408} & set(statuses), (
        "not all of it is taken; a slow machine answers that it came too slowly"
    )
    assert peak - before < 250, (before, peak)
    await asyncio.sleep(10)
    after = memory(server)
    print(
        f"\n{kind}: {before} MiB before, {peak} at most, {after} after; {statuses.count(503)} of {count} refused"
    )
    assert after - before < 150, (before, after)
    assert (await installation.send(*[installation.ping() for _ in range(300)])).status == 200


async def test_a_body_is_refused_before_it_is_read(make_server):
    server = make_server(most_incoming_mebibytes=1)
    async with connected(server) as (_, holder):
        holder.write(b"POST /v1/pings HTTP/1.1\r\n" + FORM + b"x" * 1_000_000)
        await asyncio.sleep(0.5)
        for expect in (b"", b"Expect: 100-continue\r\n"):
            head = b"POST /v1/pings HTTP/1.1\r\n" + expect + FORM
            async with connected(server) as (reader, writer):
                writer.write(head)
                document = is_problem(await everything(reader, 5), 503)
                assert document["code"] == "unavailable"
    await asyncio.sleep(0.5)  # whoever held it has left
    async with connected(server) as (reader, writer):
        writer.write(b"POST /v1/pings HTTP/1.1\r\nConnection: close\r\n" + FORM + b"x" * MIB)
        assert parts(await everything(reader))[0] == 401


async def test_bodies_that_are_announced_and_do_not_come_make_room(make_server):
    """Else a few heads every ten seconds would keep every large upload out."""
    server = make_server(most_incoming_mebibytes=2)
    announced = [await asyncio.open_connection(*address(server)) for _ in range(2)]
    for _, writer in announced:
        writer.write(b"POST /v1/pings HTTP/1.1\r\n" + FORM + b"x" * 1_000)
    await asyncio.sleep(2)
    answer = await exchange(server, b"POST /v1/pings HTTP/1.1\r\nConnection: close\r\n" + FORM + b"x" * MIB)
    assert parts(answer)[0] == 401
    ends = [asyncio.create_task(reader.read()) for reader, _ in announced]
    closed, open_ = await asyncio.wait(ends, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert closed
    for each in open_:
        each.cancel()
    for _, writer in announced:
        writer.close()


async def test_many_requests_on_one_connection_use_up_nothing(make_server):
    server = make_server(most_incoming_mebibytes=1)
    installation = await Installation.enrolled(server)
    body = installation.upload(*(installation.ping() for _ in range(150)))
    assert len(body) > 64 * 1024
    head = f"POST /v1/pings HTTP/1.1\r\nHost: x\r\nTelemetry-Signature: {installation.sign(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    async with connected(server) as (reader, writer):
        for _ in range(30):
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            status, headers, _ = parts(answer)
            assert status == 200
            await reader.readexactly(int(headers["content-length"]))
    async with connected(server, limit=2**20) as (reader, writer):
        get = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 4_000 + b"\r\n\r\n"
        for _ in range(20):
            writer.write(get * 50)
            for _ in range(50):
                assert b" 200 " in await reader.readuntil(b"}")


# ── whoever reads nothing ───────────────────────────────────────────────────────────────────


def _unread(server):
    """Bytes that the system holds for clients of the server."""
    port = f":{address(server)[1]:04X}"
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return [int(row[4].split(":")[0], 16) for row in rows if row[1].endswith(port) and row[3] != "0A"]


@pytest.mark.slow(reason="who reads nothing is closed after a minute")
async def test_whoever_asks_and_never_reads_is_closed_and_a_slow_reader_is_not(server):
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    stalled = [socket.create_connection(address(server)) for _ in range(8)]
    for each in stalled:
        each.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                each.send(ask * 100)
    slow, slow_writer = await asyncio.open_connection(*address(server), limit=4096)
    slow_writer.write(ask * 60)
    await asyncio.sleep(2)
    assert max(_unread(server)) < MIB
    taken, before = 0, files(server)
    began = time.monotonic()
    while time.monotonic() - began < 75:
        async with asyncio.timeout(patient(5)):
            taken += len(await slow.readexactly(2**15))
        await asyncio.sleep(2)
    assert files(server) <= before - len(stalled)
    assert taken > MIB / 2
    slow_writer.close()
    for each in stalled:
        each.close()


async def test_those_who_read_nothing_make_room_for_others(make_server):
    """Every connection is taken by a client that asks and does not read: the longest stalled one goes."""
    server = make_server(open_files=(160, 160))  # 80 connections
    with contextlib.ExitStack() as clients:
        for _ in range(80):
            client = clients.enter_context(socket.socket())
            client.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
            )  # so that little is written to stall it
            client.connect(address(server))
            with suppress(ConnectionError):  # the first ones may be closed already
                client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        await asyncio.sleep(3)
        installation = await asyncio.wait_for(Installation.enrolled(server), patient(10))
        for _ in range(5):
            assert (await asyncio.wait_for(installation.send(), patient(10))).status == 200


# ── what is no HTTP ─────────────────────────────────────────────────────────────────────────

NO_HTTP = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SECRET,
    b"SSH-2.0-" + SECRET + b"\r\n\r\n",
    b"GET /sign-in?token=" + SECRET + b" HTTP/1.1\r\nHost: x\r\nCookie: session=\0" + SECRET + b"\r\n\r\n",
    b"GET /" + SECRET + b" HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /" + SECRET * 500 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + SECRET * 500 + b"\r\n\r\n",
    b"POST /v1/pings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + SECRET + b"\r\n",
    b"GET http://[" + SECRET + b"/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /" + SECRET + b" HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SECRET,
]


async def test_what_is_no_http_is_counted_in_the_log_without_what_it_was(server):
    for data in NO_HTTP * 30:
        document = is_problem(await exchange(server, data), 400)
        assert SECRET.decode() not in json.dumps(document)
    assert len(server.errors()) < 4_000
    assert server.terminate() == 0
    log = server.errors()
    for never in (SECRET.decode(), "127.0.0.1", "Traceback", "aiohttp"):
        assert never not in log
    counted = [line for line in lines(server) if line["message"] == "not HTTP"]
    assert sum(line["times"] for line in counted) == 30 * len(NO_HTTP)
    assert {"TLS", "LineTooLong", "BadStatusLine"} <= {line["kind"] for line in counted}


CUT = [
    (b"POST /v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n" + SECRET, b""),
    (
        b"POST /v1/enroll HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        SECRET + b"\r\n",
    ),
    (b"POST /v1/pings HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n" + SECRET, b""),
    (b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", b""),
]


async def test_a_client_that_breaks_off_leaves_nothing_in_the_log(server):
    for head, rest in CUT * 20:
        async with connected(server) as (_, writer):
            writer.write(head)
            await asyncio.sleep(0.02)
            writer.write(rest)
            linger = struct.pack("ii", 1, 0)  # a reset instead of a farewell
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert await asyncio.to_thread(server.terminate) == 0  # meanwhile the loop closes the last connection
    assert SECRET.decode() not in server.errors()
    assert {line["message"] for line in lines(server)} <= {"not HTTP"}


REFUSED = {
    "OPTIONS * HTTP/1.1": 404,
    "CONNECT x:80 HTTP/1.1": 404,
    "GET /nothing HTTP/1.1": 404,
    "DELETE /v1/pings HTTP/1.1": 405,
    "GET /healthz HTTP/1.1\r\nExpect: the-unexpected": 417,
    "GET /api/v1/products HTTP/1.1": 401,
}


@pytest.mark.parametrize("line", REFUSED)
async def test_every_refusal_is_a_problem_document_and_names_no_software(common_server, line):
    answer = await exchange(common_server, f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    is_problem(answer, REFUSED[line])


# ── both ways an upload may take ────────────────────────────────────────────────────────────


async def test_both_ways_of_an_upload_answer_alike(common_server):
    """In one piece it is taken directly; the first half alone, aiohttp takes over."""
    installation = await Installation.enrolled(common_server)
    body = installation.upload(installation.ping())
    assert (await installation.send_bytes(body)).status == 200
    bodies = {
        "good": (body, {}),
        "gzip": (gzip.compress(body), {"Content-Encoding": "gzip"}),
        "no gzip": (body, {"Content-Encoding": "br"}),
        "no JSON": (b"{", {}),
        "no signature": (body, {"Telemetry-Signature": "v1"}),
        "foreign signature": (body, {"Telemetry-Signature": installation.sign(body + b" ")}),
    }
    for name, (sent, headers) in bodies.items():
        named = {
            "Host": "x",
            "Telemetry-Signature": installation.sign(sent),
            "Content-Length": len(sent),
        } | headers
        head = "".join(f"{header}: {value}\r\n" for header, value in named.items())
        whole = f"POST /v1/pings HTTP/1.1\r\n{head}\r\n".encode() + sent
        answers = []
        for cut in (len(whole), len(whole) - 1):
            async with connected(common_server) as (reader, writer):
                writer.write(whole[:cut])
                await asyncio.sleep(0.3)
                writer.write(whole[cut:])
                writer.write_eof()
                status, found, document = parts(await everything(reader))
            answers.append((status, found.keys(), {**_plain(document)}))
        assert answers[0] == answers[1], name
        assert "server" not in answers[0][1]


def _plain(document):
    return {name: value for name, value in json.loads(document).items() if name != "server_time"}


async def test_whoever_closes_only_his_half_gets_every_answer(common_server):
    installation = await Installation.enrolled(common_server)
    body = installation.upload(installation.ping())
    signed = f"Host: x\r\nTelemetry-Signature: {installation.sign(body)}\r\n"
    upload = f"POST /v1/pings HTTP/1.1\r\n{signed}Content-Length: {len(body)}\r\n\r\n".encode() + body
    chunked = f"POST /v1/pings HTTP/1.1\r\n{signed}Transfer-Encoding: chunked\r\n\r\n".encode()
    chunked += b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    get = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
    for data, answers in [(upload, 1), (chunked, 1), (get, 1), (upload * 3, 3), (get * 3 + upload, 4)]:
        got = await exchange(common_server, data, half_close=True)
        assert got.count(b"HTTP/1.1 200 OK") == answers, data[:30]
    kept = "SELECT count(*) FROM pings WHERE installation_id = $1"
    assert await common_server.fetchval(kept, installation.id) == 1


@pytest.mark.parametrize("cut", [5, 60, -1])
async def test_half_a_request_and_half_a_connection_are_closed_at_once(common_server, cut):
    request = b"POST /v1/pings HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{}" + b" " * 18
    began = time.monotonic()
    assert await exchange(common_server, request[:cut], half_close=True) == b""
    assert time.monotonic() - began < patient(4)


async def test_a_body_that_is_refused_by_its_size_is_dropped_and_not_answered_twice(common_server):
    """It comes for seven seconds after its answer."""
    async with connected(common_server) as (reader, writer):
        answers = asyncio.create_task(everything(reader))
        writer.write(b"POST /v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
        for _ in range(14):
            await asyncio.sleep(0.5)
            with suppress(ConnectionError):
                writer.write(b"x" * 100_000)
        assert (await answers).count(b"HTTP/1.1") == 1
        assert answers.result().startswith(b"HTTP/1.1 413")


# ── addresses ───────────────────────────────────────────────────────────────────────────────

SLASHES = ["//v1/pings", "/v1/pings/", "//v1//pings//"]


@pytest.mark.parametrize("path", SLASHES)
@pytest.mark.parametrize("signed", ["as the protocol writes it", "as it is sent"])
async def test_a_slash_too_many_finds_the_endpoint(common_server, path, signed):
    installation = await Installation.enrolled(common_server)
    body = installation.upload(installation.ping())
    signature = installation.sign(body, path if signed == "as it is sent" else "/v1/pings")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTelemetry-Signature: {signature}\r\n"
    answer = await exchange(common_server, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    status, headers, document = parts(answer)
    assert (status, json.loads(document)["results"][0]["status"]) == (200, "accepted")
    assert headers["telemetry-receipt"] == installation.receipt(body, document)
    signature = installation.sign(body, "/v1/enroll")
    answer = await exchange(
        common_server, head.replace(signature, "x").encode() + b"Content-Length: 2\r\n\r\n{}"
    )
    assert parts(answer)[0] in {400, 401}


async def test_a_slash_too_many_finds_the_other_endpoints_too(common_server):
    key = f"Host: x\r\nConnection: close\r\nAuthorization: Bearer {common_server.product_key}\r\nContent-Length: 2\r\n\r\n{{}}"
    answer = await exchange(common_server, f"POST //v1/enroll/ HTTP/1.1\r\n{key}".encode())
    assert parts(answer)[0] == 201
    answer = await exchange(common_server, f"PUT //v1/enroll/ HTTP/1.1\r\n{key}".encode())
    assert (parts(answer)[0], parts(answer)[1]["allow"]) == (405, "POST")
    end = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    status, headers, _ = parts(await exchange(common_server, b"GET //sign-in/?next=/installations" + end))
    assert (status, headers["location"]) == (308, "/sign-in?next=/installations")
    assert parts(await exchange(common_server, b"GET //evil.example/" + end))[0] == 404
