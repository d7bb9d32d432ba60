"""A fleet that looks like a real one, the same for the same seed: written by the real writer.

Every installation has a character (where it runs, how it is licensed, how often it calls) and a
history: upgrades, moves, gaps, clones, clocks that are off.
"""

import asyncio
import random
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b

import orjson

from telemetry_server.check.fields import load_registry
from telemetry_server.check.ping import PingReader
from telemetry_server.model import SignedUpload
from telemetry_server.store.database import connect_writer
from telemetry_server.store.ingest.writer import GroupWriter

SDK = {"name": "license-telemetry-python", "version": "1.0.0"}

PLACES = (
    (24, "DE", "Hesse", "Frankfurt am Main", 24940, "Hetzner Online GmbH", "203.0.113."),
    (18, "US", "Virginia", "Ashburn", 14618, "Amazon.com, Inc.", "198.51.100."),
    (10, "FR", "Hauts-de-France", "Roubaix", 16276, "OVH SAS", "192.0.2."),
    (8, "IN", "Maharashtra", "Mumbai", 55836, "Reliance Jio Infocomm", "203.0.113."),
    (7, "BR", "São Paulo", "São Paulo", 28573, "Claro NXT", "198.51.100."),
    (6, "GB", "England", "London", 20473, "The Constant Company", "192.0.2."),
    (5, "NL", "North Holland", "Amsterdam", 14061, "DigitalOcean, LLC", "203.0.113."),
    (4, "TR", "Istanbul", "Istanbul", 47331, "Türk Telekom", "198.51.100."),
    (4, "ID", None, "Jakarta", 7713, "PT Telekomunikasi", "192.0.2."),
    (3, "VN", None, None, 45899, "VNPT Corp", "203.0.113."),
    (2, "ZA", "Gauteng", "Johannesburg", 37153, "xneelo", "198.51.100."),
    (3, None, None, None, None, None, "10.0.0."),
)
SYSTEMS = (
    (30, "debian", "12", "6.1.0-31-amd64"),
    (14, "debian", "11", "5.10.0-33-amd64"),
    (22, "ubuntu", "24.04", "6.8.0-51-generic"),
    (16, "ubuntu", "22.04", "5.15.0-130-generic"),
    (9, "almalinux", "9.5", "5.14.0-503.el9.x86_64"),
    (5, "rocky", "9.4", "5.14.0-427.el9.x86_64"),
    (4, "centos", "7", "3.10.0-1160.el7.x86_64"),
    (2, "alpine", "3.20.3", "6.6.58-0-lts"),
    (2, "amzn", "2023", "6.1.119-129.201.amzn2023"),
)
RUNS_ON = (
    (34, "kvm", None, "hetzner"),
    (16, "kvm", "docker", None),
    (14, "amazon", None, "aws"),
    (10, "kvm", None, "digitalocean"),
    (8, "vmware", None, None),
    (8, None, None, None),
    (5, None, "lxc", None),
    (4, "xen", None, "aws"),
    (4, "microsoft", None, "azure"),
    (3, "kvm", "podman", "gcp"),
    (2, None, "openvz", None),
)
LICENSES = (
    (44, "licensed", "direct", None),
    (16, "licensed", "reseller", "HostBill Partners"),
    (12, "licensed", "marketplace", "codecanyon"),
    (6, "licensed", "bundle", "Panel Suite"),
    (9, "trial", "trial", None),
    (6, "expired", "direct", None),
    (2, "expired", "reseller", "HostBill Partners"),
    (3, "unlicensed", None, None),
    (2, "unlicensed", "unknown", None),
    (2, "invalid", "marketplace", "codecanyon"),
    (1, "licensed", "gift", None),
)
VERSIONS = ("7.0.3", "7.1.0", "7.1.4", "7.2.0", "7.2.1")
FEATURES = {
    "invoice.created": 40,
    "invoice.sent": 31,
    "payment.captured": 22,
    "domain.registered": 9,
    "server.provisioned": 7,
    "ticket.answered": 14,
    "report.exported": 2,
    "backup.restored": 1,
    "api.call": 90,
    "theme.customized": 1,
}


class DemoFleet:
    """Puts `installations` of `products` (id by slug, the first the most common) into a database."""

    def __init__(self, dsn, products, *, installations=160, days=40, seed=7, now=None):
        self.dsn, self.products = dsn, products
        self.count, self.days = installations, days
        self.dice = random.Random(seed)
        self.now = now or datetime.now(UTC)
        self.reader = PingReader(load_registry())

    async def settle(self):
        """Writes every ping there was, in the order received; gives the installations' ids."""
        copies = [self._copy() for _ in range(self.count)]
        uploads = sorted(
            (u for copy in copies for u in self._life(copy)), key=lambda upload: upload.received_at
        )
        async with GroupWriter(partial(connect_writer, self.dsn)) as writer:
            await asyncio.gather(*(writer.write(upload, 1) for upload in uploads))
        return [copy["id"] for copy in copies]

    # ── a copy's character ──────────────────────────────────────────────────────────────────

    def _copy(self):
        dice = self.dice
        born = self.now - timedelta(days=dice.triangular(0, self.days, self.days * 0.7))
        _, status, source, detail = self._of(LICENSES)
        level = dice.choices(("usage", "system", "license"), (84, 11, 5))[0]
        return {
            "id": self._uuid7(born),
            "product": self.products[next(iter(self.products))]
            if dice.random() < 0.8
            else dice.choice(list(self.products.values())),
            "born": born,
            "dies": self.now - timedelta(days=dice.uniform(0, self.days))
            if dice.random() < 0.12
            else self.now,
            "place": self._of(PLACES),
            "address": dice.randrange(1, 254),
            "system": self._of(SYSTEMS),
            "runs_on": self._of(RUNS_ON),
            "license": {
                "status": status,
                "source": source,
                "source_detail": detail,
                "key_hint": self._hint(status),
            },
            "edition": dice.choice(("starter", "business", "business", "enterprise")),
            "version": dice.choices(range(5), (5, 10, 20, 30, 35))[0],
            "level": level,
            "size": dice.lognormvariate(0, 1),
            "flaky": dice.random() < 0.08,
            "wrong_clock": dice.random() < 0.02,
            "cloned_at": dice.randrange(8, 20) if dice.random() < 0.025 else None,
            "fingerprint": {"machine_id": self._digest(), "board": self._digest()},
        }

    def _hint(self, status):
        return (
            None
            if status in {"unlicensed", "trial"}
            else "".join(self.dice.choices("23456789ABCDEFGHJKMNPQRSTVWXYZ", k=4))
        )

    # ── a copy's life ───────────────────────────────────────────────────────────────────────

    def _life(self, copy):
        dice, moment, sequence, reason = self.dice, copy["born"], 0, "start"
        while moment < min(self.now, copy["dies"]):
            sequence += 1
            if not (copy["flaky"] and dice.random() < 0.12 and sequence > 1):
                yield self._upload(copy, moment, sequence, reason)
            if sequence == copy["cloned_at"]:
                yield self._upload(
                    copy, moment + timedelta(minutes=7), sequence, "start", address=copy["address"] + 1
                )
            reason = self._what_happens(copy)
            moment += timedelta(hours=24 * dice.uniform(0.96, 1.04))
            if copy["flaky"] and dice.random() < 0.05:
                moment += timedelta(days=dice.uniform(2, 6))

    def _what_happens(self, copy):
        dice = self.dice
        if copy["version"] < 4 and dice.random() < 0.03:
            copy["version"] += 1
            return "start"
        if copy["license"]["status"] == "trial" and dice.random() < 0.05:
            copy["license"] |= {
                "status": dice.choice(("licensed", "expired")),
                "source": "direct",
                "key_hint": self._hint("licensed"),
            }
            return "license"
        if dice.random() < 0.004:
            copy["place"], copy["address"] = self._of(PLACES), dice.randrange(1, 254)
            return "start"
        return "heartbeat"

    def _upload(self, copy, moment, sequence, reason, address=None):
        raw = self._raw(copy, moment, sequence, reason)
        ping = self.reader.read(orjson.dumps(raw), SDK)
        place = orjson.dumps(self._place(copy)).decode()
        ping.state = blake2b((ping.facts + place).encode(), digest_size=16).digest()
        ping.time_suspect = copy["wrong_clock"]
        client = f"{copy['place'][6]}{address or copy['address']}"
        return SignedUpload(copy["id"], copy["product"], moment, client, place, [ping])

    def _raw(self, copy, moment, sequence, reason):
        _, name, version, kernel = copy["system"]
        _, vm, container, cloud = copy["runs_on"]
        occurred_at = moment - timedelta(seconds=self.dice.uniform(1, 90))
        if copy["wrong_clock"]:
            occurred_at = datetime(1970, 1, 1, 3, tzinfo=UTC) + timedelta(days=sequence)
        return {
            "ping_id": str(uuid.UUID(int=self.dice.getrandbits(128), version=4)),
            "sequence": sequence,
            "occurred_at": occurred_at.isoformat(),
            "reason": reason,
            "privacy": {"notice_version": "2018-04-17", "level": copy["level"]},
            "license": copy["license"] | {"edition": copy["edition"], "expires_at": "2027-01-31T00:00:00Z"},
            "service": {"version": VERSIONS[copy["version"]], "environment": "production"},
            "os": {"type": "linux", "name": name, "version": version, "kernel": kernel},
            "host": {"arch": "arm64" if name == "amzn" else "amd64", "fingerprint": copy["fingerprint"]},
            "virtualization": {"vm": vm, "container": container, "cloud": cloud},
            "runtime": {"name": "cpython", "version": "3.11.7"},
            "usage": {"since": (moment - timedelta(days=1)).isoformat(), "features": self._features(copy)},
        }

    def _features(self, copy):
        counts = {
            name: int(self.dice.expovariate(1 / (often * copy["size"]))) for name, often in FEATURES.items()
        }
        return {name: count for name, count in counts.items() if count}

    def _place(self, copy):
        _, country, region, city, asn, organisation, _ = copy["place"]
        known = {"country": country, "region": region, "city": city, "asn": asn, "organisation": organisation}
        known = {name: value for name, value in known.items() if value is not None}
        return (
            known | {"source": "DB-IP City Lite", "built_on": "2026-11-01", "prefix_length": 24}
            if known
            else {}
        )

    # ── dice ────────────────────────────────────────────────────────────────────────────────

    def _of(self, weighted):
        return self.dice.choices(weighted, [row[0] for row in weighted])[0]

    def _digest(self):
        return f"{self.dice.getrandbits(256):064x}"

    def _uuid7(self, moment):
        milliseconds = int(moment.timestamp() * 1000)
        return uuid.UUID(
            int=milliseconds << 80
            | 7 << 76
            | self.dice.getrandbits(12) << 64
            | 2 << 62
            | self.dice.getrandbits(62)
        )
