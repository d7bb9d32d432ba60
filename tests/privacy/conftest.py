"""One server process for all tests of the wing that send pings; each looks at what it sent itself."""

from dataclasses import dataclass

import aiohttp
import pytest
from installation import Installation, post


@dataclass
class Own:
    """What an installation asks for itself."""

    server: object

    async def ask(self, installation, path, body=b"{}"):
        headers = {
            "Telemetry-Signature": installation.sign(body, path),
            "Content-Type": "application/json",
        }
        answer = await post(f"{self.server.url}{path}", body, headers)
        if answer.status < 300:
            assert answer.headers["Telemetry-Receipt"] == installation.receipt(body, answer.body)
        return answer


@pytest.fixture
def own(common_server):
    return Own(common_server)


@pytest.fixture
async def copy(common_server):
    return await Installation.enrolled(common_server)


@pytest.fixture
def rows(common_server):
    """How many rows of a table an installation has."""

    async def rows(table, installation):
        sql = f"SELECT count(*) FROM {table} WHERE installation_id = $1::text::uuid"
        return await common_server.fetchval(sql, installation.id)

    return rows


@pytest.fixture
async def reader(common_server):
    async with aiohttp.ClientSession() as session:

        async def read(path, **named):
            async with session.request(
                named.pop("method", "GET"), common_server.url + path, allow_redirects=False, **named
            ) as answer:
                return answer.status, answer.headers, await answer.read()

        yield read
