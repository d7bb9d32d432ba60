"""The job "look up hostnames", with a DNS of the test's own."""

import asyncio
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from patience import patient, until

from telemetry_server.app import job_table
from telemetry_server.errors import Unavailable
from telemetry_server.jobs import hostnames
from telemetry_server.jobs.hostnames import Limits, from_system, look_up_hostnames
from telemetry_server.settings import Settings

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


class Dns:
    """Names by address; an exception stands for a question that nobody answers."""

    def __init__(self, **names):
        self.names = {address.replace("_", "."): name for address, name in names.items()}
        self.asked, self.at_once, self.most_at_once = [], 0, 0
        self.lock = threading.Lock()
        self.wait = threading.Event()
        self.wait.set()

    def __call__(self, address):
        with self.lock:
            self.asked.append(address)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.wait.wait(10)
        with self.lock:
            self.at_once -= 1
        name = self.names.get(address)
        if isinstance(name, Exception):
            raise name
        return name


@pytest.fixture
def copy(connection):
    """Puts an installation into the database that was last heard of from that address."""

    async def copy(address, heard_at=NOW):
        installation_id = uuid4()
        await connection.execute(
            "INSERT INTO installations (installation_id, product_id, received, received_before, first_received_at,"
            " last_received_at, last_sequence, last_occurred_at, client_address, state)"
            " VALUES ($1, $1, '{[1,2)}', '{}', $2, $2, 1, $2, $3::text::inet, '0123456789abcdef')",
            installation_id,
            heard_at,
            address,
        )
        return installation_id

    return copy


@pytest.fixture
def kept(connection):
    async def kept():
        return dict(await connection.fetch("SELECT host(address), hostname FROM hostnames"))

    return kept


async def test_addresses_get_the_names_the_dns_knows_and_are_not_asked_for_again_soon(connection, copy, kept):
    for address in ("192.0.2.7", "192.0.2.8", "2001:db8::7"):
        await copy(address)
    dns = Dns(**{"192_0_2_7": "Host7.Example.NET.", "2001:db8::7": "six.example.net"})
    run = look_up_hostnames(dns)
    assert await run(connection, NOW) == "2 of 3 addresses have a name"
    assert await kept() == {
        "192.0.2.7": "host7.example.net",
        "192.0.2.8": None,
        "2001:db8::7": "six.example.net",
    }
    for days, asked_again in (
        (6, []),
        (8, ["192.0.2.8"]),
        (14, []),
        (31, ["192.0.2.7", "192.0.2.8", "2001:db8::7"]),
    ):
        dns.asked.clear()
        await run(connection, NOW + days * DAY)
        assert sorted(dns.asked) == asked_again


async def test_a_name_that_changes_or_goes_is_changed(connection, copy, kept):
    await copy("192.0.2.7")
    dns = Dns(**{"192_0_2_7": "old.example.net"})
    await look_up_hostnames(dns)(connection, NOW)
    for name in ("new.example.net", None):
        dns.names["192.0.2.7"] = name
        later = await connection.fetchval("SELECT looked_up_at FROM hostnames") + 31 * DAY
        await look_up_hostnames(dns)(connection, later)
        assert await kept() == {"192.0.2.7": name}


async def test_those_heard_of_last_come_first_and_a_run_asks_for_so_many(connection, copy, kept):
    for minutes in range(6):
        await copy(f"192.0.2.{minutes}", NOW - timedelta(minutes=minutes))
    run = look_up_hostnames(Dns(), Limits(addresses=3))
    await run(connection, NOW)
    assert set(await kept()) == {"192.0.2.0", "192.0.2.1", "192.0.2.2"}
    await run(connection, NOW)
    assert len(await kept()) == 6


async def test_an_address_that_many_share_is_asked_for_once(connection, copy):
    for _ in range(5):
        await copy("192.0.2.7")
    dns = Dns()
    await look_up_hostnames(dns)(connection, NOW)
    assert dns.asked == ["192.0.2.7"]


async def test_nobody_is_asked_for_local_or_shortened_addresses(connection, copy, kept):
    for address in ("10.1.2.3", "fd00::1", "192.0.2.0/24", "2001:db8::/48", None):
        await copy(address)
    dns = Dns()
    run = look_up_hostnames(dns)
    assert await run(connection, NOW) == "0 of 2 addresses have a name"
    assert (dns.asked, await kept()) == ([], {"10.1.2.3": None, "fd00::1": None})
    assert await run(connection, NOW) == "0 of 0 addresses have a name"


@pytest.mark.parametrize(
    "name", ["", ".", "a b", "<script>", "x" * 300, "ex\0ample.net", "müller.example", "-x.example", "a/b"]
)
def test_what_is_no_hostname_is_none(name):
    assert hostnames._valid(name) is None


# ── a DNS that does not do ──────────────────────────────────────────────────────────────────


async def test_questions_are_asked_at_once_but_not_too_many(connection, copy):
    for n in range(20):
        await copy(f"192.0.2.{n}")
    dns = Dns()
    dns.wait.clear()
    job = asyncio.ensure_future(look_up_hostnames(dns, Limits(at_once=4))(connection, NOW))
    await until(lambda: dns.at_once == 4)
    dns.wait.set()
    await job
    assert (dns.most_at_once, len(dns.asked)) == (4, 20)


async def test_a_question_nobody_answers_is_given_up_and_its_thread_counts_until_it_ends(
    connection, copy, kept
):
    limits = Limits(at_once=2, seconds_each=0.05, seconds_in_all=0.3)
    for n in range(6):
        await copy(f"192.0.2.{n}", NOW - timedelta(minutes=n))
    dns = Dns()
    dns.wait.clear()
    await look_up_hostnames(dns, limits)(connection, NOW)
    assert await kept() == {"192.0.2.0": None, "192.0.2.1": None}
    assert dns.most_at_once == 2
    dns.wait.set()


async def test_a_single_address_that_cannot_be_resolved_is_left_for_a_week(connection, copy, kept):
    await copy("192.0.2.7")
    await copy("192.0.2.8")
    dns = Dns(**{"192_0_2_7": socket.gaierror(socket.EAI_AGAIN, "later"), "192_0_2_8": UnicodeError("idna")})
    await look_up_hostnames(dns)(connection, NOW)
    assert await kept() == {"192.0.2.7": None, "192.0.2.8": None}


async def test_when_the_resolver_is_away_the_job_says_so_and_asks_again_next_time(connection, copy, kept):
    for n in range(10):
        await copy(f"192.0.2.{n}")
    away = {f"192_0_2_{n}": socket.gaierror(socket.EAI_AGAIN, "later") for n in range(9)}
    dns = Dns(**away, **{"192_0_2_9": "nine.example.net"})
    with pytest.raises(Unavailable, match="9 of 10 queries unanswered"):
        await look_up_hostnames(dns)(connection, NOW)
    assert await kept() == {"192.0.2.9": "nine.example.net"}
    dns.names = {}
    await look_up_hostnames(dns)(connection, NOW)
    assert len(await kept()) == 10


async def test_an_address_that_was_shortened_while_it_was_asked_for_is_not_kept(
    connection, copy, kept, database
):
    await copy("192.0.2.7")
    dns = Dns(**{"192_0_2_7": "host.example.net"})
    dns.wait.clear()
    other = await asyncpg.connect(database)
    job = asyncio.ensure_future(look_up_hostnames(dns)(connection, NOW))
    await until(lambda: dns.asked)
    await other.execute("UPDATE installations SET client_address = '192.0.2.0/24'")
    await other.close()
    dns.wait.set()
    await job
    assert await kept() == {}


STUCK = """
import asyncio, time
from telemetry_server.jobs import hostnames
limits = hostnames.Limits(seconds_each=0.05)
async def main():
    return await hostnames._ask_all(["192.0.2.7"], lambda address: time.sleep(3600), limits)
print(asyncio.run(main()))
"""


def test_a_resolver_that_hangs_does_not_keep_the_process_from_ending():
    done = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=patient(30), check=True
    )
    assert done.stdout == "({}, {'192.0.2.7'})\n"


def test_the_systems_resolver_tells_no_name_from_no_answer(monkeypatch):
    def answer(error):
        def getnameinfo(address, flags):
            raise socket.gaierror(error, "no")

        monkeypatch.setattr(socket, "getnameinfo", getnameinfo)
        return from_system("192.0.2.7")

    assert answer(socket.EAI_NONAME) is None
    with pytest.raises(OSError, match="no"):
        answer(socket.EAI_AGAIN)


def test_the_job_is_there_only_where_it_is_wanted():
    def names(**settings):
        return {job.name for job in job_table(Settings(**settings))}

    assert names(reverse_dns=True) - names() == {"look up hostnames"}
