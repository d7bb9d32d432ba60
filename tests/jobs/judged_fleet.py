"""Installations that say what a test wants, written by the real writer, and the licenses they use."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
from checked_pings import make_checked_ping, make_signed_upload

from telemetry_server.jobs.verdicts import judge_installations
from telemetry_server.model import Author, LicensePatch, LicenseRow, Verdict
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.licenses import key_hashes


class JudgedFleet:
    """Installations of the product "billing", and the job that judges them."""

    def __init__(self, connection, writer, keyring, product):
        self.connection, self.writer, self.keyring, self.product = connection, writer, keyring, product
        self.passed = timedelta(0)
        self.sequence = 0

    @property
    def now(self):
        """The time it is, and what passed besides."""
        return datetime.now(UTC) + self.passed

    async def license(self, key="KEY", slug="billing", **patch):
        """Keeps a license of that key as the command line does."""
        hashes = await key_hashes(self.connection, self.keyring, slug)
        row = LicenseRow(1, key, None, LicensePatch(**patch))
        await keep_licenses(self.connection, hashes, [row], by=Author("a test"), now=self.now)

    async def copy(
        self, key="KEY", *, of=None, product=None, verdict=Verdict.VALID, address="192.0.2.7", **says
    ):
        """A ping of an installation, which is a new one unless it is `of` a known one; gives its id."""
        self.sequence += 1
        installation, product = of or uuid4(), product or self.product
        said = {"status": "licensed", "source": "direct", "environment": "production", "version": "1"} | says
        facts = {
            "license": {"status": said["status"], "source": said["source"], "key_hint": (key or "")[-4:]},
            "service": {"environment": said["environment"], "version": said["version"]},
        }
        encoded = msgspec.json.encode(facts)
        key_hash = key and self.keyring.hash_of_key(product.slug, key)
        ping = make_checked_ping(
            self.sequence,
            ping_id=uuid4(),
            occurred_at=self.now,
            facts=encoded.decode(),
            license_key_hash=key_hash,
            state=self.keyring.state_digest(encoded, key_hash or b""),
            verdict=verdict,
        )
        upload = make_signed_upload(installation, product.id, ping, at=self.now, address=address)
        await self.writer.write(upload, 100)
        return installation

    async def judge(self):
        return await judge_installations(self.connection, self.now)

    async def row(self, installation):
        return await self.connection.fetchrow(
            "SELECT * FROM installation_facts WHERE installation_id = $1", installation
        )

    async def verdict(self, installation):
        return (await self.row(installation))["verdict"]

    async def verdicts(self):
        rows = await self.connection.fetch("SELECT verdict, count(*) FROM installation_facts GROUP BY 1")
        return dict(rows)

    async def changes(self, installation):
        rows = await self.connection.fetch(
            "SELECT before, after FROM changes WHERE installation_id = $1 AND field = 'verdict' ORDER BY changed_at",
            installation,
        )
        return [tuple(row) for row in rows]

    async def seats_used(self):
        return await self.connection.fetchval("SELECT sum(seats_used) FROM licenses")

    async def written(self):
        """What shows whether anything at all was written to the fleet or the licenses."""
        return [
            await self.connection.fetch(f"SELECT xmin::text, t.* FROM {table} AS t ORDER BY 2")
            for table in ("installation_facts", "licenses", "changes")
        ]
