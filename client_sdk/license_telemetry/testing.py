"""For the tests of software that embeds this client: records its calls, or provides a telemetry server.

    with recording() as recorded:
        checkout()
    assert recorded.features == {"invoice.created": 1}

    with FakeServer() as server:
        telemetry = Telemetry(endpoint=server.endpoint, product_key=server.product_key, state_dir=tmp_path)
        telemetry.ping()
        assert telemetry.flush()
        assert server.pings[0]["license"]["status"] == "unlicensed"

FakeServer implements protocol version 1 (identities, signatures, receipts, duplicates, forks, missing
numbers) and misbehaves on request: `server.next_pings(status(503, retry_after="30"), dropped())`.
"""

from __future__ import annotations

import gzip
import hmac
import json
import threading
from base64 import urlsafe_b64encode
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from . import _wire as wire
from ._recording import Recorded, recording

__all__ = [
    "FakeServer",
    "Fault",
    "Received",
    "Recorded",
    "Reply",
    "dropped",
    "gone",
    "lost",
    "page",
    "recording",
    "redirect",
    "refused",
    "status",
    "wrong_receipt",
]

Json = Dict[str, Any]
MASTER_KEY = "m1"


# ── how a server may misbehave ──────────────────────────────────────────────────────────────


class Reply(NamedTuple):
    """An answer: its status, headers and body. Status 0: no answer, the connection is cut."""

    status: int
    headers: Dict[str, str]
    body: bytes


Fault = Callable[["FakeServer", "Received"], Reply]


class Received(NamedTuple):
    """A request as received: `body` as sent, `json` its content."""

    path: str
    headers: Dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        inflated = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        return json.loads(inflated)


def status(code: int, retry_after: Optional[str] = None) -> Fault:
    """A problem document with this status and no receipt, as from a proxy; nothing is stored."""
    headers = {"Content-Type": "application/problem+json"}
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return lambda _server, _request: Reply(code, headers, b'{"title": "as the test asked"}')


def page(code: int = 200) -> Fault:
    """A web page, as from a captive portal or a proxy."""
    return lambda _server, _request: Reply(code, {"Content-Type": "text/html"}, b"<h1>Please sign in</h1>")


def redirect(location: str) -> Fault:
    """A redirect to another address."""
    return lambda _server, _request: Reply(307, {"Location": location}, b"")


def dropped() -> Fault:
    """The connection is cut before anything is stored."""
    return lambda _server, _request: Reply(0, {}, b"")


def lost() -> Fault:
    """The server stores the pings, but its answer never arrives."""
    return lambda server, request: server.answer(request)._replace(status=0)


def wrong_receipt() -> Fault:
    """The pings are stored and answered, with an invalid receipt."""
    return lambda server, request: _with_receipt(server.answer(request), "v1 hmac=" + "0" * 64)


def refused(code: int = 422) -> Fault:
    """A refusal by the server: a problem document with a valid receipt; nothing is stored."""
    return lambda server, request: server.receipted(request, code, _problem(code).body)


def gone() -> Fault:
    """The answer to stop for good, with a valid receipt."""
    return refused(410)


def _with_receipt(reply: Reply, receipt: str) -> Reply:
    return reply._replace(headers={**reply.headers, wire.RECEIPT: receipt})


# ── the server ──────────────────────────────────────────────────────────────────────────────


class FakeServer:
    """A telemetry server in a thread of this process, for `with`.

    pings        every ping that was accepted, in order, each once; with its `installation_id`
    received     every request as it came, also those that were refused
    enrolments   every identity handed out, with its `forked_from`
    forgotten    every request to be forgotten, as `installation_id` and `reason`
    refuse       set it to a function of a ping: an upload with a ping it is true for is answered with 422
    results      set it to a function of a ping that returns a status, or None for the normal one
    """

    def __init__(self, product: str = "acme", *, next_ping_seconds: int = 86_400, port: int = 0) -> None:
        self.product = product
        self.product_key = f"pk_{product}_test0000000000000000"
        self.next_ping_seconds = next_ping_seconds
        self._port = port
        self.notices: List[Json] = []
        self.pings: List[Json] = []
        self.received: List[Received] = []
        self.enrolments: List[Json] = []
        self.forgotten: List[Json] = []
        self.refuse: Callable[[Json], bool] = lambda _ping: False
        self.results: Callable[[Json], Optional[str]] = lambda _ping: None
        self._numbers: Dict[str, Dict[int, str]] = {}
        self._master = b"a master key"
        self._faults: Dict[str, List[Fault]] = {
            wire.PINGS_PATH: [],
            wire.ENROLL_PATH: [],
            wire.FORGET_PATH: [],
        }
        self._lock = threading.Lock()
        self._http: Optional[_Http] = None

    def __enter__(self) -> FakeServer:  # noqa: PYI034  Self came with Python 3.11
        self._http = _Http(("127.0.0.1", self._port), _handler(self))
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._http is not None
        self._http.shutdown()
        self._http.server_close()

    @property
    def endpoint(self) -> str:
        assert self._http is not None
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def next_pings(self, *faults: Fault) -> None:
        """Answers the next uploads with these, in order, then normally again."""
        self._faults[wire.PINGS_PATH].extend(faults)

    def next_enrolments(self, *faults: Fault) -> None:
        """Answers the next enrolments with these, in order, then normally again."""
        self._faults[wire.ENROLL_PATH].extend(faults)

    def next_forgettings(self, *faults: Fault) -> None:
        """Answers the next requests to be forgotten with these, in order, then normally again."""
        self._faults[wire.FORGET_PATH].extend(faults)

    def forget(self, sequence: int) -> None:
        """Behaves as after a restored backup: this number of every installation is missing."""
        with self._lock:
            for numbers in self._numbers.values():
                numbers.pop(sequence, None)
            self.pings = [ping for ping in self.pings if ping["sequence"] != sequence]

    def forget_everyone(self) -> None:
        """Behaves as a new server with another master key: it knows no identity issued before."""
        with self._lock:
            self._master += b"!"

    def uploads(self) -> List[Received]:
        """The requests that brought pings."""
        return [request for request in self.received if request.path == wire.PINGS_PATH]

    # ── answering ───────────────────────────────────────────────────────────────────────────

    def handle(self, request: Received) -> Reply:
        with self._lock:
            self.received.append(request)
            faults = self._faults.get(request.path, [])
            return faults.pop(0)(self, request) if faults else self.answer(request)

    def answer(self, request: Received) -> Reply:
        """The normal answer of the protocol."""
        if request.path == wire.ENROLL_PATH:
            return self._enrol(request)
        if request.path == wire.PINGS_PATH:
            return self._take(request)
        if request.path == wire.FORGET_PATH:
            return self._forget(request)
        return _problem(404)

    def _forget(self, request: Received) -> Reply:
        if not self._is_signed(request):
            return _problem(401)
        self.forgotten.append({"installation_id": _signature(request)["installation"], **request.json})
        answer = {"request_id": wire.uuid7(), "server_time": "2026-11-22T10:00:00.000Z"}
        return self.receipted(request, 202, json.dumps(answer).encode())

    def receipted(self, request: Received, code: int, body: bytes) -> Reply:
        """An answer with a valid receipt for the signer of the request."""
        signature = _signature(request)
        secret = self._secret(signature.get("installation", ""))
        kind = "application/json" if code < 300 else "application/problem+json"  # noqa: PLR2004  all is well
        reply = Reply(code, {"Content-Type": kind}, body)
        return _with_receipt(reply, "v1 hmac=" + wire.receipt(secret, request.body, body))

    def _enrol(self, request: Received) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self.product_key}":
            return _problem(401)
        parent = request.json.get("forked_from")
        if parent is not None and (
            _signature(request).get("installation") != parent or not self._is_signed(request)
        ):
            return _problem(403)
        installation_id = wire.uuid7()
        self.enrolments.append({"installation_id": installation_id, "forked_from": parent})
        answer = {
            "installation_id": installation_id,
            "secret": urlsafe_b64encode(self._secret(installation_id)).decode().rstrip("="),
            "key": MASTER_KEY,
            "product": self.product,
            "next_ping_seconds": self.next_ping_seconds,
            "notice": None,
            "server_time": "2026-11-22T10:00:00.000Z",
        }
        return Reply(201, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _take(self, request: Received) -> Reply:
        if not self._is_signed(request):
            return _problem(401)
        upload = request.json
        if any(self.refuse(ping) for ping in upload["pings"]):
            return self.receipted(request, 422, _problem(422).body)
        installation_id = _signature(request)["installation"]
        numbers = self._numbers.setdefault(installation_id, {})
        results = [self._settle(installation_id, numbers, ping) for ping in upload["pings"]]
        answer = {
            "upload_id": upload["upload_id"],
            "results": results,
            "missing": _missing(numbers),
            "next_ping_seconds": self.next_ping_seconds,
            "notices": self.notices,
            "server_time": "2026-11-22T10:00:00.000Z",
        }
        return self.receipted(request, 200, json.dumps(answer).encode())

    def _settle(self, installation_id: str, numbers: Dict[int, str], ping: Json) -> Json:
        sequence, ping_id = ping["sequence"], ping["ping_id"]
        fate = self.results(ping)
        if fate is None and sequence not in numbers:
            fate = "accepted"
            numbers[sequence] = ping_id
            self.pings.append({**ping, "installation_id": installation_id})
        elif fate is None:
            fate = "duplicate" if numbers[sequence] == ping_id else "forked"
        return {"ping_id": ping_id, "sequence": sequence, "status": fate}

    def _secret(self, installation_id: str) -> bytes:
        message = f"installation{self.product}{installation_id}".encode()
        return hmac.new(self._master, message, sha256).digest()

    def _is_signed(self, request: Received) -> bool:
        signature = _signature(request)
        installation_id = signature.get("installation", "")
        mac = wire.sign(self._secret(installation_id), "POST", request.path, request.body)
        expected = wire.signature_header(self.product, MASTER_KEY, installation_id, mac)
        return hmac.compare_digest(
            request.headers.get(wire.SIGNATURE.lower(), "").encode(), expected.encode()
        )


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments: object) -> None:
        """Prints nothing for a client that disconnected: tests kill them."""


def _signature(request: Received) -> Dict[str, str]:
    words = request.headers.get(wire.SIGNATURE.lower(), "").split()
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _missing(numbers: Dict[int, str]) -> List[Tuple[int, int]]:
    holes: List[Tuple[int, int]] = []
    expected = 1
    for sequence in sorted(numbers):
        if sequence > expected:
            holes.append((expected, sequence))
        expected = sequence + 1
    return holes


def _problem(code: int) -> Reply:
    return Reply(code, {"Content-Type": "application/problem+json"}, json.dumps({"status": code}).encode())


def _handler(server: FakeServer) -> Any:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._reply(server.handle(Received(self.path, headers, body)))

        def _reply(self, reply: Reply) -> None:
            if reply.status == 0:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_arguments: object) -> None:
            pass

    return Handler
