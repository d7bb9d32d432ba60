"""Uploads that take long to read: one at a time, in slices, rationed by network and product."""

import asyncio
import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from installation import Installation, post

from telemetry_server.errors import Malformed, TooLarge, TooManyRequests
from telemetry_server.model import Arrival
from telemetry_server.receive.body import unpack
from telemetry_server.receive.limiter import Limiter
from telemetry_server.receive.slow_lane import SlowLane

EXPENSIVE = gzip.compress(b'{"pings":[{"x":[%s]},null]}' % b",".join([b"{}"] * 2_700_000))
"""Eight KiB that are eight MiB."""


class Lane(SlowLane):
    """A lane with ten seconds of processor time and a thousand bytes in a minute, by clocks of the test."""

    def __init__(self):
        self.wall = self.used = 0.0
        super().__init__(
            cpu=Limiter(10, 60, clock=lambda: self.wall),
            inflated=Limiter(1_000, 60, clock=lambda: self.wall),
            clock=lambda: self.used,
        )

    async def read(self, *, address="192.0.2.1", product="one", seconds=0.0, size=0, slices=3, done=None):
        sender = SimpleNamespace(product=SimpleNamespace(slug=product))
        arrival = Arrival("/v1/pings", "", b"", None, address, datetime.now(UTC), b"x" * size, sender)

        def work():
            for number in range(slices):
                self.used += seconds / slices
                (done if done is not None else []).append((address, number))
                if number < slices - 1:
                    yield

        await self.run(arrival, work())


async def test_one_upload_is_read_after_the_other_and_everything_else_has_its_turn_between_slices():
    lane, done, turns = Lane(), [], []

    async def everything_else():
        while len(done) < 6:
            turns.append(len(done))
            await asyncio.sleep(0)

    await asyncio.gather(
        lane.read(address="192.0.2.1", done=done),
        lane.read(address="192.0.2.2", done=done),
        everything_else(),
    )
    assert done == [(address, number) for address in ("192.0.2.1", "192.0.2.2") for number in range(3)]
    assert set(turns) >= {1, 2, 3, 4, 5}


@pytest.mark.parametrize("cost", [{"seconds": 11.0}, {"size": 1_100}])
async def test_what_a_network_used_beyond_its_ration_is_given_back_by_time_alone(cost):
    lane = Lane()
    await lane.read(**cost)
    with pytest.raises(TooManyRequests) as refusal:
        await lane.read()
    assert refusal.value.retry_after == 6
    await lane.read(address="192.0.2.2")
    await lane.read(product="two")
    lane.wall = 6.0
    await lane.read()


async def test_who_waits_while_others_of_its_network_use_up_the_ration_is_refused_without_work():
    lane, done = Lane(), []
    results = await asyncio.gather(
        *(lane.read(seconds=4.0, done=done) for _ in range(10)), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None)] * 3 + [TooManyRequests] * 7
    assert len(done) == 9


async def test_neighbours_of_an_ipv6_network_share_its_ration():
    lane = Lane()
    await lane.read(address="2001:db8::1", seconds=11.0)
    with pytest.raises(TooManyRequests):
        await lane.read(address="2001:db8::ffff:2")
    await lane.read(address="2001:db8:0:1::1")


async def test_work_that_ends_in_a_refusal_is_charged_too():
    lane = Lane()

    def work():
        lane.used += 11.0
        raise Malformed
        yield

    sender = SimpleNamespace(product=SimpleNamespace(slug="one"))
    with pytest.raises(Malformed):
        await lane.run(Arrival("", "", b"", None, "192.0.2.1", datetime.now(UTC), sender=sender), work())
    with pytest.raises(TooManyRequests):
        await lane.read()


async def test_what_was_inflated_of_a_body_that_is_too_large_is_charged():
    lane = SlowLane(cpu=Limiter(10, 60), inflated=Limiter(2**20, 60))
    sender = SimpleNamespace(product=SimpleNamespace(slug="one"))

    async def send():
        bomb = gzip.compress(bytes(9 * 2**20))
        arrival = Arrival("", "", bomb, "gzip", "192.0.2.1", datetime.now(UTC), sender=sender)
        await lane.run(arrival, unpack()(arrival))

    with pytest.raises(TooLarge):
        await send()
    with pytest.raises(TooManyRequests):
        await send()


# ── a real server ───────────────────────────────────────────────────────────────────────────


def processor_seconds(process):
    used = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")


async def send_from(installation, address, body, session, **headers):
    signed = {"Telemetry-Signature": installation.sign(body), "X-Forwarded-For": address}
    return await post(f"{installation.url}/v1/pings", body, signed | headers, session)


async def test_a_network_that_floods_is_refused_and_no_one_else_is(make_server):
    server = make_server(trusted_proxies="127.0.0.0/8", network_cpu_percent=1)
    flooding, neighbour = await Installation.enrolled(server), await Installation.enrolled(server)
    unusual = json.dumps({"pings": [neighbour.ping(mood="fine")]}).encode()
    ordinary = json.dumps({"pings": [neighbour.ping()]}).encode()
    before = processor_seconds(server.process)
    async with aiohttp.ClientSession() as session:
        answers = await asyncio.gather(
            *(
                send_from(flooding, "192.0.2.1", EXPENSIVE, session, **{"Content-Encoding": "gzip"})
                for _ in range(40)
            )
        )
        used = processor_seconds(server.process) - before
        statuses = [answer.status for answer in answers]
        assert set(statuses) == {200, 429}
        assert statuses.count(200) < 10
        refused = answers[statuses.index(429)]
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["Telemetry-Receipt"] == flooding.receipt(EXPENSIVE, refused.body)
        assert (await send_from(neighbour, "192.0.2.1", unusual, session)).status == 429
        assert (await send_from(neighbour, "198.51.100.1", unusual, session)).statuses == ["accepted"]
        assert (await send_from(neighbour, "192.0.2.1", ordinary, session)).statuses == ["accepted"]
    assert used < 10, "each of the forty cost 1.7 s before"


async def test_a_ping_may_take_as_much_in_a_batch_as_alone(server):
    installation = await Installation.enrolled(server)
    large = [installation.ping(essay="x" * size) for size in (260_000, 263_000, 10)]
    answer = await installation.send(*large, compress=True)
    assert answer.statuses == ["accepted", "rejected", "accepted"]
    refused = answer.json["results"][1]
    assert (refused["code"], refused["ping_id"], refused["sequence"]) == ("too_large", large[1]["ping_id"], 2)
    assert (await installation.send(installation.ping(essay="x" * 263_000), compress=True)).status == 413
