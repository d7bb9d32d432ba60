"""A made-up fleet in a database of its own, made once for all tests that only look."""

import asyncio
import uuid
from dataclasses import dataclass

import asyncpg
import pytest
from orders import END, ORDER

from telemetry_server.keyring import Keyring, open_keyring
from telemetry_server.simulate.making import Made, make_fleet
from telemetry_server.store.registry.products import add_product


@dataclass
class MadeFleet:
    """The fleet, where it is, and what its keys are hashed with."""

    dsn: str
    keyring: Keyring
    made: Made


@pytest.fixture(scope="session")
def keyring(tmp_path_factory):
    return open_keyring(tmp_path_factory.mktemp("keyring") / "keyring.json")


@pytest.fixture(scope="session")
def make(keyring):
    async def make(connection, order=ORDER, progress=lambda *_: None):
        return await make_fleet(connection, keyring, order, progress)

    return make


@pytest.fixture(scope="module")
def fleet(cluster, template, keyring, make):
    """In a database where a real product is, too."""
    name = f"simulated_{uuid.uuid4().hex[:12]}"

    async def prepare():
        await cluster.copy(template, name)
        connection = await asyncpg.connect(cluster.dsn(name))
        await add_product(connection, "Billing", now=END)
        made = await make(connection)
        await connection.close()
        return made

    yield MadeFleet(cluster.dsn(name), keyring, asyncio.run(prepare()))
    asyncio.run(cluster.drop(name))


@pytest.fixture
async def look(fleet):
    """Asks the database of the fleet."""
    connection = await asyncpg.connect(fleet.dsn)
    yield connection.fetch
    await connection.close()
