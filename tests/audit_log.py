"""Entries of the audit log for tests."""

import random

from telemetry_server.keyring import Keyring
from telemetry_server.store.access import audit
from telemetry_server.store.access.audit_checkpoints import signer_of
from telemetry_server.store.access.audit_log import number_entries

KEYRING = Keyring("keyring.json", {}, "k1", bytes(range(32)))
SIGNER = signer_of(KEYRING)


def entry(number=0, **given):
    """An entry about an installation; `given` are other fields."""
    fields = {
        "actor": f"api:ann-{number % 7}",
        "action": "installation.view",
        "subject_kind": "installation",
        "subject_id": f"019ab6f0-3c1e-7d2a-9b1e-{number:012}",
        "network": "203.0.113.0/24",
        "details": {"number": number, "path": "/installations/…"},
    }
    return audit.Entry(**fields | given)


async def fill(connection, count, start=0):
    """Records `count` entries and numbers them."""
    async with connection.transaction():
        for number in range(start, start + count):
            await audit.record(connection, entry(number))
    await number_entries(connection)


async def without_triggers(connection):
    """What an attacker with the rights of the owner does first."""
    for table in "audit_entries", "audit_leaves", "audit_nodes", "audit_checkpoints":
        await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")


def seeded(number):
    return random.Random(number)
