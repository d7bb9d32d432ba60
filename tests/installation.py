"""An installation made by hand: enrols, numbers, signs and checks receipts, straight from the protocol.

Independent of the SDK on purpose: the server is tested against the protocol, not against our client.
"""

import gzip
import hashlib
import hmac
import io
import json
import secrets
import time
import uuid
from base64 import urlsafe_b64decode
from datetime import UTC, datetime

import aiohttp


def uuid7():
    milliseconds = time.time_ns() // 1_000_000
    return uuid.UUID(
        int=milliseconds << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    )


def make_ping(sequence, **changes):
    """A ping with every section; `changes` replace members, None takes them out."""
    ping = {
        "ping_id": str(uuid7()),
        "sequence": sequence,
        "occurred_at": datetime.now(UTC).isoformat(),
        "reason": "heartbeat",
        "boot_id": "b" * 64,
        "privacy": {"notice_version": "2018-04-17", "level": "usage"},
        "license": {
            "status": "licensed",
            "key_digest": "9f" * 32,
            "key_hint": "7Q2K",
            "source": "marketplace",
            "source_detail": "codecanyon",
            "edition": "business",
            "expires_at": "2027-01-31T00:00:00Z",
        },
        "service": {"version": "7.2.1", "build": "sha256:abc", "environment": "production"},
        "os": {"type": "linux", "name": "debian", "version": "12", "kernel": "6.1.0-31-amd64"},
        "host": {"arch": "amd64", "fingerprint": {"machine_id": "ab" * 32}},
        "virtualization": {"vm": "kvm", "container": None, "cloud": "aws"},
        "runtime": {"name": "cpython", "version": "3.11.7"},
        "usage": {"since": "2026-11-21T09:59:58Z", "features": {"invoice.created": 12}},
    } | changes
    return {name: value for name, value in ping.items() if value is not None}


class Answer:
    """What came back: status, headers, body as bytes and as JSON."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def statuses(self):
        return [result["status"] for result in self.json["results"]]


class Installation:
    """One identity at one server."""

    def __init__(self, url, enrolment):
        self.url = url
        self.id = enrolment["installation_id"]
        self.secret = urlsafe_b64decode(enrolment["secret"] + "=")
        self.key = enrolment["key"]
        self.product = enrolment["product"]
        self.notice = enrolment["notice"]
        self.sequence = 0

    @classmethod
    async def enrolled(cls, server):
        answer = await post(
            f"{server.url}/v1/enroll", b"{}", {"Authorization": f"Bearer {server.product_key}"}
        )
        assert answer.status == 201, answer.body
        return cls(server.url, answer.json)

    def sign(self, body, path="/v1/pings", method="POST"):
        message = f"v1\n{method}\n{path}\n".encode() + body
        mac = hmac.new(self.secret, message, "sha256").hexdigest()
        return f"v1 product={self.product} key={self.key} installation={self.id} hmac={mac}"

    def ping(self, **changes):
        self.sequence += 1
        return make_ping(self.sequence, **changes)

    def upload(self, *pings):
        return json.dumps(
            {"upload_id": str(uuid7()), "sent_at": datetime.now(UTC).isoformat(), "pings": pings}
        ).encode()

    async def send(self, *pings, compress=False, session=None):
        """Uploads `pings` (one new one if none are given) and checks the receipt of a 200."""
        body = self.upload(*(pings or [self.ping()]))
        return await self.send_bytes(gzip.compress(body) if compress else body, compress, session)

    async def send_bytes(self, body, compressed=False, session=None):
        headers = {"Telemetry-Signature": self.sign(body), "Content-Type": "application/json"}
        if compressed:
            headers["Content-Encoding"] = "gzip"
        answer = await post(f"{self.url}/v1/pings", body, headers, session)
        if answer.status == 200:
            assert answer.headers["Telemetry-Receipt"] == self.receipt(body, answer.body)
        return answer

    def receipt(self, request, response):
        message = b"receipt\n" + hashlib.sha256(request).hexdigest().encode() + b"\n" + response
        return f"v1 hmac={hmac.new(self.secret, message, 'sha256').hexdigest()}"


async def post(url, body, headers, session=None):
    if session is None:
        async with aiohttp.ClientSession() as own:
            return await post(url, body, headers, own)
    async with session.post(
        url, data=io.BytesIO(body), headers=headers, timeout=aiohttp.ClientTimeout(30)
    ) as response:
        return Answer(response.status, response.headers, await response.read())
