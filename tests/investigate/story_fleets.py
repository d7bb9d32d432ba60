"""Stories of rules, played on the real tables: each is a product of its own, with licenses and daily pings, and all of
them go through the real writer and the jobs, day by day.

    days = 30                     the length of the story
    builds = ["b1"]               the builds of release 1
    licenses.KEY = {seats, overage, status, source, addresses, customer, territory, expires (day), from (day),
                    of_other_product, asked (day), then = {day = {…}}}
    copies.NAME = {key, status, source, environment, network, address, country, build, machine, clock_hours,
                   from, until (days), pauses = [[from, until]], parent, forks = [days], boots, then = {day = {…}}}
    guilty = ["KIND:NAME"]        what the rule finds, and nothing else; visible: what it finds and does not count
"""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
from checked_pings import make_checked_ping, make_signed_upload

from telemetry_server.jobs.deadlines import watch_deadlines
from telemetry_server.jobs.outages import SERVING
from telemetry_server.jobs.verdicts import judge_installations
from telemetry_server.model import Author, CustomerPatch, LicensePatch, LicenseRow, Verdict
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.licenses import key_hashes
from telemetry_server.store.registry.products import add_product
from telemetry_server.store.registry.releases import Release, keep_release
from telemetry_server.store.watermarks import reach

BY = Author("a story")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
_PATCHED = ("seats", "overage", "status", "source", "type", "addresses")


class StoryFleet:
    """One story: its product, its licenses and its copies."""

    def __init__(self, number, story, now):
        self.number, self.story = number, story
        self.begin = now - story.get("days", 30) * DAY
        self.licenses, self.given = story.get("licenses", {}), story.get("copies", {})
        self.ids = {name: uuid4() for name in self.given}
        self.sequences = dict.fromkeys(self.given, 0)

    async def enter(self, connection):
        """The products and the release."""
        early = self.begin - DAY
        self.product, _ = await add_product(connection, f"Story {self.number}", now=early)
        self.reporting = self.product
        if any(each.get("of_other_product") for each in self.licenses.values()):
            self.other, _ = await add_product(connection, f"Other {self.number}", now=early)
        await connection.execute(
            "UPDATE products SET simulated = true"
        )  # the pings of a day come at once: no outage
        builds = tuple(self.story.get("builds", ()))
        await keep_release(connection, self.product, Release("1", None, builds), by=BY, now=early)

    async def register(self, connection, keyring, day):
        """What the registry learns on that day."""
        for key, given in self.licenses.items():
            fresh = given if given.get("from", 0) == day else {}
            if changes := fresh | given.get("then", {}).get(str(day), {}):
                await self._license(connection, keyring, key, changes, is_new=bool(fresh))
            elif given.get("from", 0) == day:
                await self._license(connection, keyring, key, {}, is_new=True)
            if given.get("asked") == day:
                await self._ask(connection, keyring, key, day)

    async def _license(self, connection, keyring, key, given, *, is_new):
        product = self.other if self.licenses[key].get("of_other_product") else self.product
        patch = {name: given[name] for name in _PATCHED if name in given}
        if "addresses" in patch:
            patch["addresses"] = tuple(patch["addresses"])
        if "expires" in given:
            patch["expires_at"] = (self.begin + given["expires"] * DAY).date()
        if is_new:
            customer = given.get("customer", f"Customer of {key}")
            email = f"{customer.replace(' ', '-').lower()}@story-{self.number}.example"
            patch["customer"] = CustomerPatch(email=email, company=customer)
            if "territory" in given:
                patch["custom"] = {"territory": given["territory"]}
        hashes = await key_hashes(connection, keyring, product.slug)
        row = LicenseRow(1, self.key(key), None, LicensePatch(**patch))
        await keep_licenses(connection, hashes, [row], by=BY, now=datetime.now(UTC))

    async def _ask(self, connection, keyring, key, day):
        license_id, at, item = (
            UUID(await self.subject(connection, keyring, f"license:{key}")),
            self.begin + day * DAY,
            uuid4(),
        )
        await connection.execute(
            "INSERT INTO clear_up_items (clear_up_id, kind, subject, product_id, license_id, size, first_at, last_at, opened_at)"
            " VALUES ($1, 'over_seats', $2::text, $3, $2::text::uuid, 1, $4, $4, $4)",
            *(item, str(license_id), self.product.id, at),
        )
        await connection.execute(
            "INSERT INTO clear_up_changes (change_id, clear_up_id, changed_at, actor, before, after)"
            """ VALUES ($1, $2, $3, 'ann', '{"state": "open"}', '{"state": "asked"}')""",
            *(uuid4(), item, at),
        )

    def key(self, name):
        """Keys are unique across products."""
        return f"{name}-{self.number}"

    def uploads(self, keyring, day, verdicts):
        """The uploads of that day, one a copy."""
        for place, (name, given) in enumerate(self.given.items()):
            is_paused = any(begin <= day < end for begin, end in given.get("pauses", ()))
            if given.get("from", 0) <= day <= given["until"] and not is_paused:
                at = self.begin + day * DAY + (1 + place) * timedelta(minutes=20)
                yield self._upload(keyring, name, day, at, verdicts)
                if day in given.get("forks", ()):
                    yield self._upload(keyring, name, day, at + HOUR, verdicts, is_fork=True)

    def _upload(self, keyring, name, day, at, verdicts, *, is_fork=False):
        said = dict(self.given[name])
        for when, changes in said.pop("then", {}).items():
            if int(when) <= day:
                said |= changes
        if not is_fork:
            self.sequences[name] += 1
        facts, key = self._facts(name, said, day, is_fork), said.get("key")
        encoded = msgspec.json.encode(facts)
        key_hash = keyring.hash_of_key(self.product.slug, self.key(key)) if key else None
        network = said.get("network", "home")
        place = {
            "country": said.get("country", "DE"),
            "asn": str(64512 + _number(network) % 1000),
            "organisation": network,
        }
        place_json = msgspec.json.encode(place)
        ping = make_checked_ping(
            self.sequences[name],
            ping_id=uuid4(),
            occurred_at=at + said.get("clock_hours", 0) * HOUR,
            facts=encoded.decode(),
            license_status=facts["license"]["status"],
            license_source=facts["license"]["source"],
            environment=facts["service"]["environment"],
            license_key_hash=key_hash,
            state=keyring.state_digest(encoded, place_json, key_hash or b""),
            verdict=verdicts.get(self.ids[name], Verdict.VALID),
        )
        address = (
            said.get("address") or f"100.{64 + _number(network) % 64}.{self.number}.{_number(name) % 250}"
        )
        return make_signed_upload(self.ids[name], self.product.id, ping, at=at, address=address, place=place)

    def _facts(self, name, said, day, is_fork):
        boots = said.get("boots") or [said.get("boot", "one")]
        boot = "rival" if is_fork else boots[day % len(boots)]
        return {
            "boot_id": f"{boot} {name}",
            "host": {
                "fingerprint": {
                    "machine_id": hashlib.sha256(
                        f"{self.number} {said.get('machine', name)}".encode()
                    ).hexdigest()
                }
            },
            "license": {
                "status": said.get("status", "licensed"),
                "source": said.get("source", "direct"),
                "key_hint": said.get("key", "")[-4:],
            },
            "service": {
                "environment": said.get("environment", "production"),
                "version": "1",
                "build": said.get("build", "b1000"),
            },
        }

    async def enrol(self, connection, day):
        """The lineage of copies that begin on that day with a parent."""
        for name, given in self.given.items():
            if "parent" in given and given["from"] == day:
                await connection.execute(
                    "INSERT INTO lineage (installation_id, parent_id, product_id, enrolled_at) VALUES ($1, $2, $3, $4)",
                    *(self.ids[name], self.ids[given["parent"]], self.product.id, self.begin + day * DAY),
                )

    async def subject(self, connection, keyring, text):
        """The subject that "KIND:NAME" stands for, as a finding names it."""
        kind, _, name = text.partition(":")
        match kind:
            case "installation":
                return str(self.ids[name])
            case "key":
                return keyring.hash_of_key(self.product.slug, self.key(name)).hex()
            case "network":
                return name
        product = self.other if self.licenses[name].get("of_other_product") else self.product
        return str(
            await connection.fetchval(
                "SELECT license_id FROM licenses WHERE key_hash = $1",
                keyring.hash_of_key(product.slug, self.key(name)),
            )
        )


async def play(fleets, connection, writer, keyring, now):
    """Lives through the days of all stories at once, by the real writer, registry and jobs."""
    for fleet in fleets:
        await fleet.enter(connection)
    day_of_now = max((now - fleet.begin).days for fleet in fleets)
    for back in range(day_of_now, -1, -1):
        at = now - back * DAY
        living = [(fleet, (at - fleet.begin).days) for fleet in fleets if at >= fleet.begin]
        verdicts = dict(await connection.fetch("SELECT installation_id, verdict FROM installation_facts"))
        verdicts = {UUID(str(each)): Verdict(verdict) for each, verdict in verdicts.items()}
        uploads = []
        for fleet, day in living:
            await fleet.register(connection, keyring, day)
            await fleet.enrol(connection, day)
            uploads += fleet.uploads(keyring, day, verdicts)
        forks = [each for each in uploads if each.pings[0].facts.startswith('{"boot_id":"rival')]
        await asyncio.gather(*(writer.write(each, 100) for each in uploads if each not in forks))
        await asyncio.gather(*(writer.write(each, 100) for each in forks))
        end = at + DAY - HOUR
        await judge_installations(connection, end)
    await reach(connection, SERVING, end)  # the server was up all the time
    await watch_deadlines(connection, end)


def _number(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
