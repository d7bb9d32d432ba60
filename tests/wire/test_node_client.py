"""The page docs/protocol.md is enough to write a client from: here is one in Node, against the real server."""

import asyncio
import hmac
import json
import os
import re
import shutil
import subprocess
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from patience import patient

WIRE = Path(__file__).parent
CLIENT = WIRE / "client.mjs"
LICENSE_KEY = "ACME-1234-5678-7Q2K"
PROBLEM = {"Content-Type": "application/problem+json"}
PASSED_ON = ("Authorization", "Content-Type", "Telemetry-Signature", "Telemetry-Receipt")


def major_version_of_node() -> int:
    if not (node := shutil.which("node")):
        return 0
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").partition(".")[0])


pytestmark = pytest.mark.skipif(major_version_of_node() < 18, reason="needs Node 18 or later on the PATH")


async def run_node(*arguments: str, **environment: str) -> tuple[int, Any]:
    """The exit status of Node and the line of JSON it printed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "node", *arguments, env={**os.environ, **environment}, stdout=pipe, stderr=pipe
    )
    out, errors = await asyncio.wait_for(process.communicate(), patient(60))
    assert out, errors.decode()
    return process.returncode or 0, json.loads(out)


@pytest.fixture
def server(common_server: Any) -> Any:
    return common_server


async def ping(
    endpoint: str, server: Any, state: Path, status: str = "trial", **environment: str
) -> tuple[int, Any]:
    return await run_node(str(CLIENT), endpoint, server.product_key, str(state), status, **environment)


def outcomes(report: Any) -> list[tuple[int, str]]:
    return [(result["sequence"], result["status"]) for result in report["results"]]


async def stored(server: Any, installation_id: str) -> list[Any]:
    return await server.fetch(
        "SELECT sequence, ping_id, license_status, os_type FROM v_pings WHERE installation_id = $1 ORDER BY sequence",
        installation_id,
    )


@asynccontextmanager
async def listening(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


class Relay:
    """Stands between client and server, keeps the uploads it saw, and loses the answers while told to."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.url = ""
        self.uploads: list[bytes] = []
        self.loses_answers = False

    @classmethod
    @asynccontextmanager
    async def before(cls, server: Any) -> AsyncIterator["Relay"]:
        async with aiohttp.ClientSession(server.url) as session:
            relay = cls(session)
            async with listening(relay.pass_on) as relay.url:
                yield relay

    async def pass_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self.session.post(request.path, data=body, headers=passed_on(request.headers)) as answer:
            text = await answer.read()
        if request.path == "/v1/pings":
            self.uploads.append(body)
            if self.loses_answers:
                assert request.transport
                request.transport.abort()
        return web.Response(status=answer.status, body=text, headers=passed_on(answer.headers))


def passed_on(headers: Any) -> dict[str, str]:
    return {name: headers[name] for name in PASSED_ON if name in headers}


async def captive_portal(request: web.Request) -> web.Response:
    """Answers everything with 200 and a promise it cannot sign."""
    headers = {"Telemetry-Receipt": "v1 hmac=" + "0" * 64}
    return web.json_response({"results": [{"sequence": 1, "status": "accepted"}]}, headers=headers)


# ── the client by itself ────────────────────────────────────────────────────────────────────


def test_the_client_is_less_than_a_hundred_lines_and_needs_nothing_but_node():
    source = CLIENT.read_text("utf-8")
    assert len(source.splitlines()) < 100
    assert all(module.startswith("node:") for module in re.findall(r'from "([^"]+)"', source))
    assert not re.search(r"\brequire\(|\bimport\(", source)


async def test_the_golden_vectors_agree_with_the_cryptography_of_node():
    script = """
        import fs from "node:fs";
        import { isReceipt, keyDigest, receipt, signature } from "./client.mjs";
        const vectors = (name) => JSON.parse(fs.readFileSync(`${name}.json`, "utf8"));
        const bytes = (text) => Buffer.from(text, "base64");
        const right = {
          signatures: (v) => signature(v, v.method, v.path, bytes(v.body_base64)) === v.header,
          receipts: (v) => {
            const told = [v.secret, bytes(v.request_body_base64), bytes(v.response_body_base64)];
            return receipt(...told) === v.header && isReceipt(v.header, ...told);
          },
          key_digests: (v) => keyDigest(v.product, v.license_key) === v.key_digest,
        };
        const tally = ([name, check]) => [name, vectors(name).filter((v) => !check(v)).map((v) => v.name)];
        console.log(JSON.stringify(Object.fromEntries(Object.entries(right).map(tally))));
    """
    process = await asyncio.create_subprocess_exec(
        *("node", "--input-type=module", "-e", script), cwd=WIRE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), patient(60))
    assert json.loads(out) == {"signatures": [], "receipts": [], "key_digests": []}


# ── the client against the server ───────────────────────────────────────────────────────────


async def test_a_first_run_enrols_and_its_ping_is_stored(server, tmp_path):
    status, report = await ping(server.url, server, tmp_path / "state.json")
    assert (status, report["waiting"], outcomes(report)) == (0, 0, [(1, "accepted")])
    (row,) = await stored(server, report["installation_id"])
    assert (row["sequence"], row["license_status"]) == (1, "trial")
    assert str(row["ping_id"]) == report["results"][0]["ping_id"]
    assert row["os_type"] == "linux" or os.name != "posix" or os.uname().sysname != "Linux"


async def test_the_secret_is_readable_by_its_owner_only(server, tmp_path):
    await ping(server.url, server, tmp_path / "state.json")
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "state.json"]


async def test_each_run_takes_the_next_number_of_the_same_installation(server, tmp_path):
    reports = [(await ping(server.url, server, tmp_path / "state.json"))[1] for _ in range(3)]
    assert [outcomes(report) for report in reports] == [[(n, "accepted")] for n in (1, 2, 3)]
    assert len({report["installation_id"] for report in reports}) == 1
    assert len(await stored(server, reports[0]["installation_id"])) == 3


async def test_a_lost_answer_makes_the_same_bytes_go_again_and_they_count_once(server, tmp_path):
    async with Relay.before(server) as relay:
        relay.loses_answers = True
        status, report = await ping(relay.url, server, tmp_path / "state.json")
        assert (status, report["waiting"]) == (75, 1)
        relay.loses_answers = False
        status, report = await ping(relay.url, server, tmp_path / "state.json")
    assert (status, outcomes(report)) == (0, [(1, "duplicate"), (2, "accepted")])
    assert relay.uploads[0] == relay.uploads[1]
    assert len(await stored(server, report["installation_id"])) == 2


async def test_an_answer_that_is_not_signed_is_not_believed(server, tmp_path):
    await ping(server.url, server, tmp_path / "state.json")
    async with listening(captive_portal) as portal:
        status, report = await ping(portal, server, tmp_path / "state.json")
    assert (status, report["waiting"]) == (75, 1)
    _, report = await ping(server.url, server, tmp_path / "state.json")
    assert outcomes(report) == [(2, "accepted"), (3, "accepted")]


async def test_what_could_not_be_sent_goes_in_order_when_the_server_is_back(server, tmp_path):
    await ping(server.url, server, tmp_path / "state.json")
    nobody = f"http://127.0.0.1:{unused_port()}"
    for waiting in (1, 2):
        status, report = await ping(nobody, server, tmp_path / "state.json")
        assert status == 75
        assert len(json.loads((tmp_path / "state.json").read_bytes())["queue"]) == waiting
    _, report = await ping(server.url, server, tmp_path / "state.json")
    assert outcomes(report) == [(2, "accepted"), (3, "accepted"), (4, "accepted")]


@pytest.mark.parametrize(
    ("answer", "waiting", "asks_again"),
    [
        ((400, PROBLEM), 1, True),
        ((413, {}), 1, True),
        ((415, PROBLEM), 1, True),
        ((422, PROBLEM), 1, True),
        ((401, PROBLEM), 1, False),
        ((403, PROBLEM), 1, False),
        ((400, {"Content-Type": "text/html"}), 1, True),
        ((401, {"Content-Type": "text/html"}), 1, True),
        ((410, PROBLEM), 1, True),
        ((302, {"Location": "/login"}), 1, True),
        ((429, {"Retry-After": "60"}), 1, False),
        ((503, {"Retry-After": "60"}), 1, False),
    ],
    ids=str,
)
async def test_each_status_is_acted_upon_as_the_page_says(server, tmp_path, answer, waiting, asks_again):
    asked: list[str] = []

    async def answer_so(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=answer[0], headers=answer[1])

    await ping(server.url, server, tmp_path / "state.json")
    async with listening(answer_so) as endpoint:
        _, report = await ping(endpoint, server, tmp_path / "state.json")
        assert (report["waiting"], asked) == (waiting, ["/v1/pings"])
        await ping(endpoint, server, tmp_path / "state.json")
        assert (len(asked) > 1) == asks_again


class Signing:
    """Answers every upload with a status and a body, under the receipt of the installation in `state`."""

    def __init__(self, state: Path, status: int, told: int) -> None:
        self.secret = urlsafe_b64decode(json.loads(state.read_bytes())["secret"] + "=")
        self.status = status
        self.body = json.dumps({"status": told}).encode()
        self.asked: list[bytes] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(await request.read())
        message = f"receipt\n{sha256(self.asked[-1]).hexdigest()}\n".encode() + self.body
        mac = hmac.digest(self.secret, message, "sha256").hex()
        headers = PROBLEM | {"Telemetry-Receipt": f"v1 hmac={mac}"}
        return web.Response(status=self.status, body=self.body, headers=headers)


@pytest.mark.parametrize(("told", "uploads"), [(410, 1), (503, 2)])
async def test_a_signed_410_that_says_so_itself_stops_for_good(server, tmp_path, told, uploads):
    state = tmp_path / "state.json"
    await ping(server.url, server, state)
    gone = Signing(state, 410, told)
    async with listening(gone.answer) as endpoint:
        for _ in range(2):
            await ping(endpoint, server, state)
    assert len(gone.asked) == uploads


@pytest.mark.parametrize("status", [400, 413, 415, 422])
@pytest.mark.parametrize(("same", "waiting"), [(True, 0), (False, 1)])
async def test_a_signed_refusal_that_says_so_itself_drops_the_ping(server, tmp_path, status, same, waiting):
    state = tmp_path / "state.json"
    await ping(server.url, server, state)
    async with listening(Signing(state, status, status if same else 503).answer) as endpoint:
        _, report = await ping(endpoint, server, state)
    assert report["waiting"] == waiting


async def test_a_ping_that_somebody_turns_away_lets_the_next_one_by(server, tmp_path):
    async def too_large(_: web.Request) -> web.Response:
        return web.Response(status=413)

    await ping(server.url, server, tmp_path / "state.json")
    async with listening(too_large) as endpoint:
        for _ in range(2):
            await ping(endpoint, server, tmp_path / "state.json")
    _, report = await ping(server.url, server, tmp_path / "state.json")
    assert (report["waiting"], sorted(outcomes(report))) == (0, [(n, "accepted") for n in (2, 3, 4)])
    assert len(await stored(server, report["installation_id"])) == 4


async def test_who_is_refused_asks_once_more_a_day_later_and_then_for_a_new_identity(server, tmp_path):
    asked: list[str] = []

    async def unknown(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=403, headers=PROBLEM)

    def a_day_later() -> None:
        known = json.loads(state.read_bytes())
        assert known["not_before"] > 0
        state.write_text(json.dumps(known | {"not_before": 0}), "utf-8")

    state = tmp_path / "state.json"
    _, first = await ping(server.url, server, state)
    async with listening(unknown) as endpoint:
        await ping(endpoint, server, state)
        a_day_later()
        _, again = await ping(endpoint, server, state)
        assert (again["installation_id"], asked) == (first["installation_id"], ["/v1/pings"] * 2)
    _, report = await ping(server.url, server, state)
    assert report["installation_id"] != first["installation_id"]
    assert outcomes(report) == [(1, "accepted"), (2, "accepted"), (3, "accepted")]


async def test_a_copied_state_file_is_seen_as_a_fork_and_goes_on_under_its_own_name(server, tmp_path):
    _, first = await ping(server.url, server, tmp_path / "state.json")
    shutil.copy(tmp_path / "state.json", tmp_path / "clone.json")
    await ping(server.url, server, tmp_path / "state.json")
    status, clone = await ping(server.url, server, tmp_path / "clone.json")
    assert (status, outcomes(clone)) == (0, [(2, "forked"), (1, "accepted")])
    assert clone["installation_id"] != first["installation_id"]
    lineage = await server.fetch(
        "SELECT parent_id FROM lineage WHERE installation_id = $1", clone["installation_id"]
    )
    assert [str(row["parent_id"]) for row in lineage] == [first["installation_id"]]
    forks = await server.fetch(
        "SELECT sequence FROM forks WHERE installation_id = $1", first["installation_id"]
    )
    assert [row["sequence"] for row in forks] == [2]


async def test_a_license_key_travels_as_its_digest_only(server, tmp_path):
    async with Relay.before(server) as relay:
        state = tmp_path / "state.json"
        status, report = await ping(relay.url, server, state, "licensed", LICENSE_KEY=f" {LICENSE_KEY}\n")
    assert (status, outcomes(report)) == (0, [(1, "accepted")])
    assert b'"key_digest":"' in relay.uploads[0]
    assert LICENSE_KEY.encode() not in relay.uploads[0] + state.read_bytes()


async def test_a_product_key_nobody_knows_is_told_and_nothing_is_written(server, tmp_path):
    status, report = await run_node(str(CLIENT), server.url, "no-such-key", str(tmp_path / "state.json"))
    assert status == 75
    assert "401" in report["error"]
    assert not (tmp_path / "state.json").exists()
