"""One server for all tests of a module; each makes its own case."""

import asyncio
import re
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import aiohttp
import asyncpg
import orjson
import pytest
from installation import Installation

from telemetry_server.model import Role
from telemetry_server.store.access.credentials import create_sign_in_link, create_token

OPEN_CASE = """
    INSERT INTO cases (case_id, product_id, subject_kind, subject_id, name, score, waterfall, first_seen, last_seen, opened_at)
    SELECT $1, product_id, 'license', $2, $3, $4, $5::jsonb, $6, $7, $7 FROM products WHERE slug = $8
"""
OPEN_FINDING = """
    INSERT INTO findings (finding_id, product_id, rule, family, subject_kind, subject_id, strength, first_seen, last_seen, evidence, opened_at)
    SELECT $1, product_id, $2, 'key', 'license', $3, 0.8, $4, $5, $6::jsonb, $5 FROM products WHERE slug = $7
"""
WATERFALL = {
    "prior": -6.6,
    "steps": [{"what": "key: over_seats", "log2": 9.2, "misuse": 40, "honest": 2}],
    "sum": 2.6,
}


class Browser:
    """A browser that is signed in; it follows no redirect."""

    def __init__(self, session, url):
        self.session, self.url = session, url

    async def get(self, path):
        async with self.session.get(self.url + path, allow_redirects=False) as answer:
            return SimpleNamespace(status=answer.status, body=await answer.read(), headers=answer.headers)

    async def post(self, path, page="/cases", file=None, **form):
        """Sends a form as the page with its token does."""
        shown = (await self.get(page)).body.decode()
        form["csrf_token"] = re.search('name="csrf_token" value="([^"]+)"', shown)[1]
        data = aiohttp.FormData(form)
        if file:
            data.add_field("file", file[1], filename=file[0], content_type="application/octet-stream")
        async with self.session.post(self.url + path, data=data, allow_redirects=False) as answer:
            return SimpleNamespace(status=answer.status, body=await answer.read(), headers=answer.headers)


RUN = "SELECT last_finished_at FROM jobs WHERE name = 'find suspicions'"


@pytest.fixture
async def stored(common_server):
    """A connection to the database of the server, whose job has looked once, and looks again in an hour."""
    connection = await asyncpg.connect(common_server.database)
    while await connection.fetchval(RUN) is None:
        await asyncio.sleep(0.1)
    yield connection
    await connection.close()


@pytest.fixture
async def investigator(common_server, stored):
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        link = await create_sign_in_link(stored, Role.INVESTIGATOR, datetime.now(UTC))
        async with session.post(
            f"{common_server.url}/sign-in", data={"token": link}, allow_redirects=False
        ) as answer:
            assert answer.status == 303
        yield Browser(session, common_server.url)


@pytest.fixture
async def program(common_server, stored):
    """The API with a token of an investigator: gives the status and the JSON."""
    token = await create_token(stored, Role.INVESTIGATOR, "a test", now=datetime.now(UTC))
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:

        async def ask(method, path, body=None):
            async with session.request(method, common_server.url + path, json=body) as answer:
                return answer.status, await answer.json(content_type=None)

        yield ask


@pytest.fixture
async def copies(common_server):
    """Two installations with three pings each."""
    found = [await Installation.enrolled(common_server) for _ in range(2)]
    for each in found:
        await each.send(each.ping(), each.ping(), each.ping())
    return found


@pytest.fixture
def open_case(common_server, stored):
    """Opens a case with findings of these rules about these copies, as the job does; gives its id."""

    async def opened(copies, *rules, name="ACME Hosting", score=0.86):
        now, case_id = datetime.now(UTC), uuid.uuid4()
        subject, slug = str(uuid.uuid4()), common_server.product_slug
        waterfall = orjson.dumps(WATERFALL).decode()
        since = now - timedelta(days=20)
        await stored.execute(OPEN_CASE, case_id, subject, name, score, waterfall, since, now, slug)
        evidence = {"installations": [each.id for each in copies], "parameters": {"leeway": 2}, "seats": 1}
        for rule in rules or ("over_seats",):
            finding_id = uuid.uuid4()
            await stored.execute(
                OPEN_FINDING, finding_id, rule, subject, since, now, orjson.dumps(evidence).decode(), slug
            )
            await stored.execute(
                "INSERT INTO case_findings (case_id, finding_id, added_at) VALUES ($1, $2, $3)",
                case_id,
                finding_id,
                now,
            )
        return str(case_id)

    return opened
