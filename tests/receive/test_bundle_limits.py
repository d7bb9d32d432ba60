"""Bundles: what they carry has the limits that it has over the network."""

from aiohttp import web

from telemetry_server.errors import TooManyRequests
from telemetry_server.receive.bundles import Bundles
from telemetry_server.receive.signature import SignedRequest


class Counting:
    """A limiter that admits two requests of a network."""

    def __init__(self):
        self.asked = []

    def admit(self, key):
        self.asked.append(key)
        if len(self.asked) > 2:
            raise TooManyRequests(retry_after=60)


async def test_a_request_in_a_bundle_has_the_limit_of_the_network_that_carries_it():
    taken, limiter = [], Counting()

    async def take_one(asked):
        taken.append(asked.path)
        return web.Response(body=b"{}")

    async def no_sender(*_):
        raise AssertionError

    takers = dict.fromkeys(("/v1/pings", "/v1/enroll", "/v1/forget"), take_one)
    bundles = Bundles(verifier=None, look_again=no_sender, limiter=limiter, takers=takers)
    asked = [SignedRequest(path, {}, b"") for path in ("/v1/enroll", "/v1/pings", "/v1/forget", "/v1/forget")]
    statuses = [(await bundles._answer(each, "192.0.2.7")).status for each in asked]
    assert statuses == [200, 200, 200, 429]
    assert (taken, limiter.asked) == (["/v1/enroll", "/v1/pings", "/v1/forget"], ["192.0.2.7"] * 3)
