"""A whole server over real HTTP in the test's own loop, people who look at it, and a fleet to see."""

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
from demo_fleet import DemoFleet

from telemetry_server.app import create_app
from telemetry_server.check.fields import load_registry
from telemetry_server.jobs.active import count_active_copies
from telemetry_server.jobs.clear_up import list_what_to_clear_up
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Product, Role
from telemetry_server.receive import connections
from telemetry_server.receive.connections import Listener, bind
from telemetry_server.settings import Settings
from telemetry_server.store.access.credentials import create_sign_in_link, create_token
from telemetry_server.store.partitions import make_partitions
from telemetry_server.store.registry.products import add_product


class Answer:
    """What came back."""

    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        import orjson

        return orjson.loads(self.body)


class Site:
    """A running server, and who may look at it."""

    def __init__(self, url, dsn, app):
        self.url, self.dsn, self.app = url, dsn, app
        self._clients = []

    @property
    def database(self):
        return urlsplit(self.dsn).path.removeprefix("/")

    async def execute(self, sql, *arguments):
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def with_database(self, call, *arguments, **named):
        connection = await asyncpg.connect(self.dsn)
        try:
            return await call(connection, *arguments, **named)
        finally:
            await connection.close()

    def client(self, **headers):
        """A browser that nobody signed in to, or a program that sends `headers`."""
        jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address too
        client = aiohttp.ClientSession(cookie_jar=jar, headers=headers)
        self._clients.append(client)
        return Client(self, client)

    async def token(self, role=Role.VIEWER, **named):
        return await self.with_database(create_token, role, "a test", now=datetime.now(UTC), **named)

    async def program(self, role=Role.VIEWER):
        return self.client(Authorization=f"Bearer {await self.token(role)}")

    async def link(self, role=Role.VIEWER, **named):
        return await self.with_database(create_sign_in_link, role, datetime.now(UTC), **named)

    async def person(self, role=Role.VIEWER):
        """A browser that is signed in."""
        browser = self.client()
        answer = await browser.post("/sign-in", token=await self.link(role))
        assert answer.status == 303, answer.text
        return browser

    async def close(self):
        for client in self._clients:
            await client.close()


class Client:
    """Sends requests to one server and never follows a redirect."""

    def __init__(self, site, session):
        self.site, self.session = site, session

    async def get(self, path, **headers):
        return await self.request("GET", path, headers=headers)

    async def post(self, path, headers=None, **form):
        return await self.request("POST", path, data=form, headers=headers or {})

    async def request(self, method, path, **named):
        from yarl import URL

        url = URL(self.site.url + path, encoded=True)
        async with self.session.request(method, url, allow_redirects=False, **named) as response:
            return Answer(response, await response.read())

    @property
    def cookies(self):
        return {cookie.key: cookie for cookie in self.session.cookie_jar}


@pytest.fixture
def open_site(database, tmp_path, monkeypatch):
    """Opens servers with settings of one's own, all on the test's database."""

    monkeypatch.setattr(connections, "LAME_DUCK_SECONDS", 0)  # nobody is left whom a stop could surprise

    @asynccontextmanager
    async def opened(*, through=None, **settings):
        settings = dataclasses.replace(Settings(data=tmp_path, jobs=False), **settings)
        leaving = asyncio.Event()
        app = create_app(settings, open_keyring(settings.keyring), through or database, leaving)
        listener, socket = Listener(app, leaving), bind("127.0.0.1", 0)
        await listener.open(socket)
        site = Site(f"http://127.0.0.1:{socket.getsockname()[1]}", database, app)
        try:
            yield site
        finally:
            await site.close()
            await listener.close()

    return opened


class Wire:
    """The way to PostgreSQL, which can be cut: a directory of sockets by another name."""

    def __init__(self, path, cluster, dsn):
        self.path, self.cluster = path, cluster
        self.dsn = dsn.replace(str(cluster.home), str(path))
        self.mend()

    def mend(self):
        self.path.symlink_to(self.cluster.home)

    async def cut(self, site):
        self.path.unlink()
        await site.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
            site.database,
        )


class Relay:
    """A way to PostgreSQL that can hang: no byte passes while `passes` is not set, connections are taken."""

    def __init__(self, path, dsn, cluster):
        self.passes, self._relaying = asyncio.Event(), set()
        self.passes.set()
        [self._socket] = (file.name for file in cluster.home.glob(".s.PGSQL.*") if file.suffix != ".lock")
        self._path, self._home = path, cluster.home
        self.dsn = dsn.replace(str(cluster.home), str(path))

    async def open(self):
        self._path.mkdir()
        self._server = await asyncio.start_unix_server(self._take, self._path / self._socket)

    async def close(self):
        self._server.close()
        for task in self._relaying:
            task.cancel()

    async def _take(self, reader, writer):
        self._relaying.add(asyncio.current_task())
        there, back = await asyncio.open_unix_connection(self._home / self._socket)
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        except ConnectionError:
            pass
        finally:
            writer.close()
            back.close()

    async def _pass(self, reader, writer):
        while data := await reader.read(65_536):
            await self.passes.wait()
            writer.write(data)
        writer.close()


@pytest.fixture
async def relay(tmp_path, cluster, database):
    relay = Relay(tmp_path / "pg", database, cluster)
    await relay.open()
    yield relay
    await relay.close()


@pytest.fixture
def wire(tmp_path, cluster, database):
    return Wire(tmp_path / "pg", cluster, database)


@dataclass
class SettledFleet:
    """A database with a small fleet: its name, the fleet's only product, and the ids of its installations."""

    database: str
    product: Product
    ids: list[str]


@pytest.fixture(scope="session")
def settled_fleet(cluster, template):
    """Made once, and copied for each test that asks for a fleet."""

    async def make(name):
        await cluster.copy(template, name)
        async with connected(cluster.dsn(name)) as connection:
            product, _ = await add_product(connection, "Billing Suite", now=datetime.now(UTC))
            for days in (60, 30, 0):
                await make_partitions(connection, (datetime.now(UTC) - timedelta(days=days)).date())
        fleet = DemoFleet(cluster.dsn(name), {product.slug: product.id}, installations=60, days=35)
        return SettledFleet(name, product, await fleet.settle())

    return asyncio.run(make("template_fleet"))


@pytest.fixture(scope="session")
def rolled_up_fleet(cluster, settled_fleet):
    """The same, after the roll-ups."""

    async def roll_up(name):
        await cluster.copy(settled_fleet.database, name)
        async with connected(cluster.dsn(name)) as connection:
            for job in (roll_up_pings, roll_up_days):
                await job(load_registry())(connection, datetime.now(UTC))
        return name

    return asyncio.run(roll_up("template_rolled_up"))


@asynccontextmanager
async def connected(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def starting_point(request, template):
    if "counted_fleet" in request.fixturenames:
        return request.getfixturevalue("rolled_up_fleet")
    if "fleet" in request.fixturenames:
        return request.getfixturevalue("settled_fleet").database
    return template


@pytest.fixture
async def site(open_site):
    async with open_site() as site:
        yield site


@pytest.fixture
async def product(request, site):
    """The only product there is."""
    if "fleet" in request.fixturenames:
        return request.getfixturevalue("settled_fleet").product
    made, _ = await site.with_database(add_product, "Billing Suite", now=datetime.now(UTC))
    return made


@pytest.fixture
def fleet(settled_fleet):
    """A small fleet with a history; the ids of its installations."""
    return settled_fleet.ids


@pytest.fixture
def counted_fleet(fleet):
    """The same, after the roll-ups."""
    return fleet


@pytest.fixture(scope="module")
def counted(common_server, tmp_path_factory):
    """A server with a fleet that is counted, and a license with its customer; `ids` of one of each."""
    file = tmp_path_factory.mktemp("registry") / "licenses.csv"
    file.write_text("key,seats,customer_company,customer_email\nKEY-ONE-0001,2,Ada GmbH,ada@example.com\n")
    common_server.ids = asyncio.run(settle(common_server, file))
    return common_server


async def settle(server, file):
    now = datetime.now(UTC)
    async with connected(server.database) as connection:
        for days in (60, 30):
            await make_partitions(connection, (now - timedelta(days=days)).date())
        row = await connection.fetchrow("SELECT slug, product_id FROM products")
        products = {row["slug"]: row["product_id"]}
        fleet = await DemoFleet(server.database, products, installations=60, days=35).settle()
        server.command("license", "import", str(file), "--product", row["slug"])
        for job in (roll_up_pings, roll_up_days, count_active_copies):
            await job(load_registry())(connection, now)
        await list_what_to_clear_up(connection, now)
        license_id, customer_id = await connection.fetchrow("SELECT license_id, customer_id FROM licenses")
    return {"{id}": str(fleet[0]), "{license}": str(license_id), "{customer}": str(customer_id)}
