"""One server process for all tests of a module; each looks at what it sent itself."""

from datetime import UTC, datetime

import aiohttp
import asyncpg
import pytest
from installation import Installation, post

from telemetry_server.check.licenses.columns import customer_patch, license_patch
from telemetry_server.keyring import read_keyring
from telemetry_server.model import Author
from telemetry_server.store.registry.customers import create_customer
from telemetry_server.store.registry.license_changes import create_license
from telemetry_server.store.registry.licenses import key_hashes

BY = Author("a test")


@pytest.fixture
async def stored(common_server):
    """A connection to the database of the server."""
    connection = await asyncpg.connect(common_server.database)
    yield connection
    await connection.close()


@pytest.fixture
async def copy(common_server):
    return await Installation.enrolled(common_server)


@pytest.fixture
def own(common_server):
    """Asks for something with the secret of an installation, and checks the receipt."""

    async def ask(installation, path, body=b"{}"):
        headers = {"Telemetry-Signature": installation.sign(body, path), "Content-Type": "application/json"}
        answer = await post(f"{common_server.url}{path}", body, headers)
        if answer.status < 300:
            assert answer.headers["Telemetry-Receipt"] == installation.receipt(body, answer.body)
        return answer

    return ask


@pytest.fixture
def rows(stored):
    """How many rows of a table an installation has."""

    async def rows(table, installation):
        sql = f"SELECT count(*) FROM {table} WHERE installation_id = $1::text::uuid"
        return await stored.fetchval(sql, installation.id)

    return rows


@pytest.fixture
def licensed(common_server, stored):
    """A customer with a license of that key; gives the customer."""

    async def licensed(email, key, **fields):
        now = datetime.now(UTC)
        patch, _ = customer_patch({"email": email, "company": f"Company of {email}"})
        customer = await create_customer(stored, patch, by=BY, now=now)
        hashes = await key_hashes(
            stored, read_keyring(common_server.data / "keyring.json"), common_server.product_slug
        )
        patch, problems = license_patch({"customer_id": str(customer.customer_id), **fields})
        assert not problems
        await create_license(stored, hashes, key, patch, by=BY, now=now)
        return customer

    return licensed


@pytest.fixture
async def reader(common_server):
    async with aiohttp.ClientSession() as session:

        async def read(path, **named):
            async with session.request(
                named.pop("method", "GET"), common_server.url + path, allow_redirects=False, **named
            ) as answer:
                return answer.status, answer.headers, await answer.read()

        yield read
