"""Connections that carry uploads: taken directly while they are ordinary, by aiohttp as soon as they are not."""

import asyncio
import gzip
import json
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from installation import Installation
from patience import patient

from telemetry_server.receive import fast_path
from telemetry_server.receive.capacity import Capacity
from telemetry_server.receive.fast_path import Counter, DirectConnection
from telemetry_server.receive.pings import Accepted, Uploads


@pytest.fixture
def server(common_server):
    return common_server


@pytest.fixture
async def installation(server):
    return await Installation.enrolled(server)


class Wire:
    """A client that writes bytes and reads whole responses."""

    def __init__(self, url, reader, writer):
        self.url, self.reader, self.writer = url, reader, writer

    def send(self, data):
        self.writer.write(data)

    async def answer(self):
        """Status, headers by lower-case name, body."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), patient(15))).decode()
        status, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers, body

    async def is_closed(self):
        return await asyncio.wait_for(self.reader.read(1), patient(15)) == b""


@asynccontextmanager
async def connected(url):
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Wire(url, reader, writer)
    finally:
        writer.close()


@pytest.fixture
async def wire(server):
    async with connected(server.url) as wire:
        yield wire


def request(installation, body=None, *, line="POST /v1/pings HTTP/1.1", sent=None, **headers):
    body = installation.upload(installation.ping()) if body is None else body
    named = {"Host": "x", "Telemetry-Signature": installation.sign(body), "Content-Length": len(body)}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [line, *(f"{name}: {value}" for name, value in named.items() if value is not None), "", ""]
    return "\r\n".join(lines).encode() + (body if sent is None else sent)


def outcome(answer):
    status, _, body = answer
    return status, [result["status"] for result in json.loads(body)["results"]]


async def test_one_upload_after_the_other_is_answered_on_one_connection(installation, wire):
    for _ in range(3):
        body = installation.upload(installation.ping())
        wire.send(request(installation, body))
        status, headers, answer = await wire.answer()
        assert outcome((status, headers, answer)) == (200, ["accepted"])
        assert headers["telemetry-receipt"] == installation.receipt(body, answer)
        assert headers["content-type"] == "application/json"
        assert headers["date"].endswith(" GMT")
        assert "server" not in headers
        assert "connection" not in headers


@pytest.mark.parametrize("cut", [1, 10, 60, "body", -1])
async def test_an_upload_may_come_in_pieces(installation, wire, cut):
    whole = request(installation)
    cut = whole.index(b"\r\n\r\n") + 4 if cut == "body" else cut
    wire.send(whole[:cut])
    await asyncio.sleep(0.02)
    wire.send(whole[cut:])
    assert outcome(await wire.answer()) == (200, ["accepted"])


async def test_an_upload_that_takes_its_time_is_taken_too(installation, wire):
    whole = request(installation)
    wire.send(whole[:-100])
    await asyncio.sleep(3 * fast_path.PATIENCE_SECONDS)
    wire.send(whole[-100:])
    assert outcome(await wire.answer()) == (200, ["accepted"])


UNUSUAL = {
    "a query": {"line": "POST /v1/pings? HTTP/1.1"},
    "the whole address": {"line": "POST http://x/v1/pings HTTP/1.1"},
    "HTTP/1.0": {"line": "POST /v1/pings HTTP/1.0"},
    "more than to be closed": {"Connection": "close, te"},
    "an upgrade": {"Connection": "upgrade", "Upgrade": "websocket"},
}


UNUSUAL["many headers"] = {f"X{number}": number for number in range(65)}
UNUSUAL["a large header"] = {"X": "x" * 8_050}
UNUSUAL["a header twice"] = {"X": "1\r\nX: 2"}
UNUSUAL["a header without a value"] = {"X": ""}


@pytest.mark.parametrize("name", UNUSUAL)
async def test_an_unusual_upload_is_left_to_aiohttp(installation, wire, name):
    wire.send(request(installation, **UNUSUAL[name]))
    answer = await wire.answer()
    assert outcome(answer) == (200, ["accepted"])
    assert "server" not in answer[1]
    if name in {"HTTP/1.0", "more than to be closed"}:
        assert await wire.is_closed()


@pytest.mark.parametrize("word", ["close", "Close"])
async def test_an_upload_that_is_the_last_of_its_connection_is_answered_and_closed(installation, wire, word):
    """As the SDK sends; head and body may come one after the other."""
    body = installation.upload(installation.ping())
    head = request(installation, body, sent=b"", Connection=word)
    wire.send(head)
    await asyncio.sleep(0.02)
    wire.send(body)
    status, headers, answer = await wire.answer()
    assert outcome((status, headers, answer)) == (200, ["accepted"])
    assert headers["telemetry-receipt"] == installation.receipt(body, answer)
    assert headers["connection"] == "close"
    assert await wire.is_closed()


async def test_behind_the_last_upload_of_a_connection_no_request_is_answered(installation, wire):
    """However it is cut, one answer comes at most: what follows was smuggled in."""
    for cut in (0, 1, 40):
        async with connected(wire.url) as other:
            following = request(installation)
            other.send(request(installation, Connection="close") + following[:cut])
            other.send(following[cut:])
            answers = await asyncio.wait_for(other.reader.read(), patient(15))
            assert answers.count(b'"results"') <= 1
            assert answers.count(b"Connection: close") == answers.count(b"HTTP/1.1 ")


async def test_gzip_chunks_and_large_uploads_are_taken(installation, wire):
    body = gzip.compress(installation.upload(installation.ping()))
    wire.send(request(installation, body, Content_Encoding="gzip"))
    assert outcome(await wire.answer()) == (200, ["accepted"])
    body = installation.upload(*(installation.ping() for _ in range(200)))
    assert len(body) > fast_path.LARGEST_DIRECT
    wire.send(request(installation, body))
    assert outcome(await wire.answer()) == (200, ["accepted"] * 200)
    body = installation.upload(installation.ping())
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    wire.send(request(installation, body, sent=chunked, Content_Length=None, Transfer_Encoding="chunked"))
    assert outcome(await wire.answer()) == (200, ["accepted"])


async def test_what_comes_before_the_answer_is_answered_in_order(installation, wire):
    """Pipelining: in one piece, and while the first is being written."""
    bodies = [installation.upload(installation.ping()) for _ in range(40)]
    requests = [request(installation, body) for body in bodies]
    for data in (requests[0], b"".join(requests[1:3]), b"".join(requests[3:])):
        wire.send(data)
        await asyncio.sleep(0)
    for body in bodies:
        status, headers, answer = await wire.answer()
        assert outcome((status, headers, answer)) == (200, ["accepted"])
        assert headers["telemetry-receipt"] == installation.receipt(body, answer)


async def test_after_an_upload_any_other_request_may_follow(installation, wire):
    wire.send(request(installation))
    assert outcome(await wire.answer()) == (200, ["accepted"])
    wire.send(b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await wire.answer())[0] == 404
    wire.send(request(installation))
    assert outcome(await wire.answer()) == (200, ["accepted"])


async def test_an_error_is_a_problem_document_and_the_connection_stays(installation, wire):
    wire.send(request(installation, Telemetry_Signature="v1"))
    status, headers, body = await wire.answer()
    assert (status, headers["content-type"]) == (401, "application/problem+json")
    assert (headers["www-authenticate"], headers["cache-control"]) == ("Bearer", "no-store")
    assert json.loads(body)["code"] == "unauthenticated"
    assert "server" not in headers
    wire.send(request(installation, b"{"))
    assert (await wire.answer())[0] == 400
    wire.send(request(installation))
    assert outcome(await wire.answer()) == (200, ["accepted"])


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Length": "1, 1"},
        {"Content_Length": "-1"},
        {"Transfer_Encoding": "chunked"},
        {"Host": None},
        {"X": "a\rb"},
        {"X": "a\nContent-Length: 5"},
        {"X": "a\0b"},
    ],
)
async def test_what_is_not_http_is_refused_and_the_server_goes_on(server, installation, wire, headers):
    wire.send(request(installation, **headers))
    assert (await wire.answer())[0] == 400
    assert await wire.is_closed()
    assert (await installation.send()).status == 200


# ── without a server around it ──────────────────────────────────────────────────────────────


@asynccontextmanager
async def counter_at(take, handler=None):
    """A socket whose connections are taken by `take`; gives the counter and the address."""
    uploads = Uploads(steps=[], slow_lane=None)
    counter = Counter(uploads, take, handler, asyncio.Event(), Capacity(100, 2**20))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: DirectConnection(counter, loop), "127.0.0.1", 0)
    async with server:
        yield counter, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await counter.close(1)


WHOLE = b"POST /v1/pings HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
LAST = WHOLE.replace(b"Host", b"Connection: close\r\nHost")


async def accept(_):
    return Accepted(b"{}", "v1 hmac=0")


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(monkeypatch):
    monkeypatch.setattr(fast_path, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(fast_path, "FIRST_BYTE_SECONDS", 0.2)
    go_on = asyncio.Event()

    async def wait(_):
        await go_on.wait()
        return await accept(_)

    async with counter_at(wait) as (counter, url), connected(url) as idle, connected(url) as busy:
        busy.send(WHOLE)
        assert await idle.is_closed()
        await asyncio.sleep(0.5)
        go_on.set()
        assert (await busy.answer())[0] == 200
        assert await busy.is_closed()
        assert counter.connections == set()


async def test_leaving_answers_what_came_and_says_so(monkeypatch):
    go_on = asyncio.Event()

    async def wait(_):
        await go_on.wait()
        return await accept(_)

    async with counter_at(wait) as (counter, url), connected(url) as wire:
        wire.send(WHOLE)
        await asyncio.sleep(0.05)
        counter.leaving.set()
        closing = asyncio.create_task(counter.close(10))
        await asyncio.sleep(0.05)
        go_on.set()
        status, headers, _ = await wire.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await wire.is_closed()
        await closing


class Taker(asyncio.Protocol):
    """Stands where aiohttp stands: keeps what it is handed."""

    handed = b""

    def __init__(self, place):
        self.place = place

    def data_received(self, data):
        self.handed += data


async def test_a_client_that_does_not_read_is_not_read_from(monkeypatch):
    """What waits for one connection in memory is one request, and what the sockets hold."""
    takers = []

    def handler(place):
        takers.append(Taker(place))
        return takers[-1]

    async def never(_):
        await asyncio.sleep(60)

    async with counter_at(never, handler) as (counter, url), connected(url) as wire:
        wire.send(WHOLE)
        await asyncio.sleep(0.05)
        for _ in range(20):
            wire.send(WHOLE * 10_000)
        await asyncio.sleep(0.3)
        [connection] = counter.connections
        assert 0 < len(connection._came) <= 256 * 1024
        assert takers == []
        connection.answering.cancel()


async def test_the_last_upload_of_a_connection_is_answered_without_aiohttp():
    """Its head in one piece and its body in another; what comes while it is answered is dropped."""
    go_on = asyncio.Event()

    async def wait(_):
        await go_on.wait()
        return await accept(_)

    async with counter_at(wait) as (counter, url), connected(url) as wire:
        for piece in (LAST[:-2], LAST[-2:], WHOLE):
            wire.send(piece)
            await asyncio.sleep(0.02)
        go_on.set()
        status, headers, _ = await wire.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await wire.is_closed()
        assert counter.connections == set()


TAILS = st.binary(max_size=80) | st.just(WHOLE)
CUTS = st.lists(st.integers(0, 150) | st.sampled_from([len(WHOLE), len(LAST)]), max_size=3)


@given(TAILS, CUTS)
@settings(max_examples=60)
def test_whatever_comes_is_answered_or_handed_over_byte_for_byte(tail, cuts):
    answered, handed, _ = asyncio.run(_what_becomes_of(WHOLE + tail, sorted(cuts)))
    assert WHOLE * answered + handed == WHOLE + tail


@given(TAILS, CUTS)
@settings(max_examples=60)
def test_whatever_comes_behind_the_last_upload_is_never_answered_by_the_fast_path(tail, cuts):
    answered, handed, closed = asyncio.run(_what_becomes_of(LAST + tail, sorted(cuts)))
    assert (answered, handed, closed) in [(1, b"", True), (0, LAST + tail, False)]


async def _what_becomes_of(data, cuts):
    """How many uploads were answered, what was handed over, and whether the connection was closed."""
    takers, written, closed = [], [], []

    def handler(place):
        takers.append(Taker(place))
        return takers[-1]

    class Transport(asyncio.Transport):
        def write(self, data):
            written.append(data)

        def close(self):
            closed.append(self)

        def set_protocol(self, protocol):
            pass

        def pause_reading(self):
            pass

        resume_reading = pause_reading

    counter = Counter(
        Uploads(steps=[], slow_lane=None),
        accept,
        handler,
        asyncio.Event(),
        Capacity(100, 2**20),
    )
    loop = asyncio.get_running_loop()
    connection = DirectConnection(counter, loop)
    connection.connection_made(Transport())
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if data[start:end]:
            (takers[0] if takers else connection).data_received(data[start:end])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if not takers and not closed and connection._came:
        connection._hand_over()
    connection._idle.cancel()
    return len(written), takers[0].handed if takers else b"", bool(closed)
