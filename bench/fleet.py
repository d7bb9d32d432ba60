"""A fleet of installations that sign like real ones, and the requests it makes, ready for wrk."""

import asyncio
import hashlib
import hmac
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import orjson

from bench.servers import wrk
from telemetry_server.keyring import open_keyring
from telemetry_server.uuid7 import uuid7

SYSTEMS = [("debian", "12"), ("ubuntu", "22.04"), ("ubuntu", "24.04"), ("almalinux", "9.4"), ("rocky", "9.3")]
FEATURES = [
    f"{area}.{what}"
    for area in ("invoice", "order", "ticket", "domain", "server", "report")
    for what in ("created", "viewed", "updated", "deleted", "exported", "searched", "mailed", "paid")
]


@dataclass
class Member:
    """An installation: its identity and the constant parts of its pings."""

    id: str
    secret: bytes
    key: str
    address: str
    facts: dict
    sequence: int = 0


@dataclass
class Fleet:
    """`size` installations of one product; seeded, so that all runs send the same."""

    product: str
    product_id: object
    data: Path
    size: int
    host: str = "127.0.0.1"
    members: list[Member] = field(default_factory=list)

    def __post_init__(self):
        keyring, chance = open_keyring(self.data / "keyring.json"), random.Random(1)
        for number in range(self.size):
            installation = uuid7()
            secret = keyring.secret(keyring.current, self.product_id, installation)
            address = f"{198 if number % 2 else 203}.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"
            self.members.append(
                Member(str(installation), secret, keyring.current, address, _facts(chance, number))
            )

    def singles(self, count):
        """Requests of one ping each, installation after installation."""
        chance = random.Random(count)
        return [
            self._request(member, [self._ping(member, chance)]) for member in self._in_turn(count, chance)
        ]

    def batches(self, count, size):
        """Requests of `size` pings of one installation each."""
        chance = random.Random(count)
        return [
            self._request(member, [self._ping(member, chance) for _ in range(size)])
            for member in self._in_turn(count, chance)
        ]

    def _in_turn(self, count, chance):
        """Those that enrolled together do not report together: else all rows of a page change at once."""
        members = self.members[:count]
        chance.shuffle(members)
        return (members[number % len(members)] for number in range(count))

    def _ping(self, member, chance):
        member.sequence += 1
        return {
            "ping_id": str(uuid7()),
            "sequence": member.sequence,
            "occurred_at": datetime.now(UTC).isoformat(),
            "reason": "heartbeat",
            **member.facts,
            "usage": {
                "since": "2026-11-21T09:59:58Z",
                "features": {
                    name: chance.randrange(1, 5000)
                    for name in chance.sample(FEATURES, chance.randrange(5, 21))
                },
            },
        }

    def _request(self, member, pings):
        body = orjson.dumps(
            {
                "upload_id": str(uuid7()),
                "sent_at": datetime.now(UTC).isoformat(),
                "sdk": {"name": "license-telemetry-python", "version": "1.0.0"},
                "pings": pings,
            }
        )
        mac = hmac.digest(member.secret, b"v1\nPOST\n/v1/pings\n" + body, "sha256").hex()
        head = (
            f"POST /v1/pings HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
            f"X-Forwarded-For: {member.address}\r\nContent-Length: {len(body)}\r\n"
            f"Telemetry-Signature: v1 product={self.product} key={member.key} installation={member.id} hmac={mac}\r\n\r\n"
        )
        return head.encode() + body


def write(requests, path):
    with path.open("wb") as file:
        for request in requests:
            file.write(b"%08d" % len(request) + request)


def _facts(chance, number):
    name, version = chance.choice(SYSTEMS)
    digest = lambda word: hashlib.sha256(f"{word}{number}".encode()).hexdigest()  # noqa: E731
    return {
        "boot_id": digest("boot"),
        "privacy": {"notice_version": "2018-04-17", "level": "usage"},
        "license": {
            "status": "licensed",
            "key_digest": digest("key"),
            "key_hint": "7Q2K",
            "source": "marketplace",
            "source_detail": "codecanyon",
            "edition": "business",
            "expires_at": "2027-01-31T00:00:00Z",
        },
        "service": {"version": chance.choice(["7.1.0", "7.2.0", "7.2.1"]), "environment": "production"},
        "os": {"type": "linux", "name": name, "version": version, "kernel": "6.1.0-31-amd64"},
        "host": {"arch": "amd64", "fingerprint": {"machine_id": digest("machine"), "board": digest("board")}},
        "virtualization": {
            "vm": chance.choice(["kvm", "vmware", "amazon", None]),
            "container": None,
            "cloud": None,
        },
        "runtime": {"name": "cpython", "version": "3.11.7"},
    }


# ── its database ────────────────────────────────────────────────────────────────────────────


def database(data, role="telemetry"):
    return f"postgresql://{role}@/telemetry?host={data}/run"


def query(data, sql):
    async def ask():
        connection = await asyncpg.connect(database(data))
        try:
            return await connection.fetch(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


def settle(fleet, data):
    """Each member continues after its last received ping."""
    came = {
        str(row[0]): row[1] for row in query(data, "SELECT installation_id, last_sequence FROM installations")
    }
    for member in fleet.members:
        member.sequence = came.get(member.id, 0)


def send(port, connections, seconds, requests, data):
    path = data.parent / "requests"
    write(requests, path)
    return wrk(port, connections, seconds, path)
