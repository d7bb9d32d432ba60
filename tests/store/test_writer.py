"""The group writer against a real PostgreSQL: exactly once, whatever comes."""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import msgspec
import pytest
from checked_pings import make_checked_ping, make_signed_upload
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import patient, until

from telemetry_server.errors import Unavailable
from telemetry_server.model import Ping, Status
from telemetry_server.store.database import connect_writer
from telemetry_server.store.ingest import writer as writer_module
from telemetry_server.store.ingest.writer import GroupWriter

pytestmark = pytest.mark.every_postgres

NOW = datetime.now(UTC)
PRODUCT = uuid4()


ping = partial(make_checked_ping, occurred_at=NOW)


def upload(installation, *pings):
    return make_signed_upload(installation, PRODUCT, *pings)


@pytest.fixture
async def writer(database):
    async with GroupWriter(partial(connect_writer, database), lanes=2) as writer:
        yield writer


async def rows(connection, installation):
    return await connection.fetch(
        "SELECT sequence, ping_id FROM pings WHERE installation_id = $1 ORDER BY sequence", installation
    )


async def received(connection, installation):
    return await connection.fetchval(
        "SELECT received::text FROM installations WHERE installation_id = $1", installation
    )


async def test_new_pings_are_accepted_and_kept(writer, connection):
    one = uuid4()
    written = await writer.write(upload(one, ping(1), ping(2)), 100)
    assert written.others == {}
    assert written.missing == ()
    assert [row["sequence"] for row in await rows(connection, one)] == [1, 2]
    assert await received(connection, one) == "{[1,3)}"


async def test_a_repeated_ping_counts_once_and_changes_nothing(writer, connection):
    one = uuid4()
    await writer.write(upload(one, ping(1)), 100)
    before = await connection.fetch("SELECT *, xmin::text FROM installations")
    written = await writer.write(upload(one, ping(1)), 100)
    assert written.others == {1: Status.DUPLICATE}
    assert len(await rows(connection, one)) == 1
    assert await connection.fetch("SELECT *, xmin::text FROM installations") == before


async def test_the_same_upload_many_times_at_once_counts_once(writer, connection):
    one = uuid4()
    pings = [ping(n) for n in range(1, 51)]
    fates = await asyncio.gather(*(writer.write(upload(one, *pings), 100) for _ in range(40)))
    assert sum(not fate.others for fate in fates) == 1
    assert [row["sequence"] for row in await rows(connection, one)] == list(range(1, 51))


async def test_another_ping_with_a_known_number_is_a_fork_and_both_are_kept(writer, connection):
    one = uuid4()
    await writer.write(upload(one, ping(1), ping(2)), 100)
    other = uuid4()
    written = await writer.write(upload(one, ping(2, ping_id=other), ping(3)), 100)
    assert written.others == {2: Status.FORKED}
    assert [row["ping_id"] for row in await rows(connection, one)] == [UUID(int=1), UUID(int=2), UUID(int=3)]
    fork = await connection.fetchrow("SELECT * FROM forks")
    assert (fork["ping_id"], fork["stored_ping_id"], fork["sequence"]) == (other, UUID(int=2), 2)


async def test_a_fork_sent_again_is_kept_once(writer, connection):
    one, other = uuid4(), uuid4()
    await writer.write(upload(one, ping(1)), 100)
    for _ in range(3):
        assert (await writer.write(upload(one, ping(1, ping_id=other)), 100)).others == {1: Status.FORKED}
    assert await connection.fetchval("SELECT count(*) FROM forks") == 1


async def test_a_number_whose_ping_is_no_longer_kept_is_a_duplicate(writer, connection):
    one = uuid4()
    await writer.write(upload(one, ping(1)), 100)
    await connection.execute("DELETE FROM pings")
    assert (await writer.write(upload(one, ping(1, ping_id=uuid4())), 100)).others == {1: Status.DUPLICATE}
    assert await rows(connection, one) == []


async def test_holes_are_told_until_they_are_filled(writer, connection):
    one = uuid4()
    assert (await writer.write(upload(one, ping(3), ping(7)), 100)).missing == ((1, 3), (4, 7))
    assert (await writer.write(upload(one, ping(3)), 100)).missing == ((1, 3), (4, 7))
    assert (await writer.write(upload(one, ping(1), ping(2)), 100)).missing == ((4, 7),)
    assert (await writer.write(upload(one, ping(4), ping(5), ping(6)), 100)).missing == ()
    assert await received(connection, one) == "{[1,8)}"


async def test_beyond_64_holes_the_oldest_is_closed_as_lost_and_counted(writer, connection):
    one = uuid4()
    numbers = range(2, 2 * 70 + 1, 2)
    written = await writer.write(upload(one, *(ping(n) for n in numbers)), 100)
    assert len(written.missing) == 64
    assert written.missing[0] == (13, 14)
    assert await connection.fetchval("SELECT lost FROM installations") == 6
    assert (await writer.write(upload(one, ping(1)), 100)).others == {1: Status.DUPLICATE}
    assert (
        await connection.fetchval("SELECT pings FROM v_installations") is None
    )  # no such product in this test
    assert len(await rows(connection, one)) == 70


async def test_the_present_state_is_that_of_the_highest_number(writer, connection):
    one = uuid4()
    await writer.write(upload(one, ping(5, state=b"n" * 16)), 100)
    await writer.write(upload(one, ping(2, state=b"o" * 16)), 100)
    assert await connection.fetchval("SELECT state FROM installations") == b"n" * 16
    assert await connection.fetchval("SELECT count(*) FROM states") == 2


async def test_a_state_is_kept_once_however_many_pings_are_in_it(writer, connection):
    one = uuid4()
    for n in range(1, 6):
        await writer.write(upload(one, ping(n)), 100)
    await writer.write(upload(one, *(ping(n) for n in range(6, 30))), 100)
    assert await connection.fetchval("SELECT count(*) FROM states") == 1
    assert await connection.fetchval("SELECT license_status FROM states") == "licensed"


async def test_every_ping_has_its_state(writer, connection):
    for installation in [uuid4() for _ in range(20)]:
        for first in (1, 6, 11):
            pings = [ping(n, state=bytes([n % 3]) * 16) for n in range(first, first + 5)]
            await writer.write(upload(installation, *pings), 100)
    orphans = (
        "SELECT count(*) FROM pings p LEFT JOIN states s USING (installation_id, state) WHERE s.state IS NULL"
    )
    assert await connection.fetchval(orphans) == 0


# ── poison ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def poisonous(connection):
    """From now on PostgreSQL refuses a ping with the counters of poison, as it might for a reason of its own."""
    await connection.execute("ALTER TABLE pings ADD CHECK (NOT features ? 'poison')")


POISON = {"poison": 2**53 - 1}


async def test_a_bad_ping_in_the_middle_of_500_goes_to_quarantine_alone(writer, connection, poisonous):
    one = uuid4()
    pings = [ping(n, features=POISON if n == 250 else None) for n in range(1, 501)]
    written = await writer.write(upload(one, *pings), 100)
    assert written.others == {250: Status.QUARANTINED}
    assert [row["sequence"] for row in await rows(connection, one)] == [n for n in range(1, 501) if n != 250]
    kept = await connection.fetchrow("SELECT sequence, sqlstate, body FROM quarantine")
    assert (kept["sequence"], kept["sqlstate"]) == (250, "23514")
    assert msgspec.json.decode(kept["body"], type=Ping).features == POISON


async def test_poison_in_one_upload_costs_no_other_upload_of_the_group(writer, connection, poisonous):
    installations = [uuid4() for _ in range(60)]
    bad = {3, 4, 40}
    fates = await asyncio.gather(
        *(
            writer.write(upload(one, ping(1, features=POISON if n in bad else None)), 100)
            for n, one in enumerate(installations)
        )
    )
    assert {n for n, fate in enumerate(fates) if fate.others} == bad
    assert await connection.fetchval("SELECT count(*) FROM pings") == 57
    assert await connection.fetchval("SELECT count(*) FROM quarantine") == 3


async def test_text_that_postgresql_cannot_keep_is_poison_not_a_crash(writer, connection):
    one = uuid4()
    bad = ping(2, facts='{"license":{"status":"licensed"},"os":{"name":"\\u0000"}}', state=b"x" * 16)
    written = await writer.write(upload(one, ping(1), bad, ping(3)), 100)
    assert written.others == {2: Status.QUARANTINED}
    assert await connection.fetchval("SELECT count(*) FROM pings") == 2


async def test_a_ping_whose_month_gets_its_partition_meanwhile_is_accepted(writer, connection):
    """PostgreSQL had chosen the default partition, which may not hold that month any more."""
    one = upload(uuid4(), ping(1))
    later = msgspec.structs.replace(one, received_at=datetime(2031, 5, 4, tzinfo=UTC))
    await writer.write(upload(uuid4(), ping(1)), 100)  # the statement is prepared
    made = connection.transaction()
    await made.start()
    await connection.execute("CREATE TABLE pings_2031_05 (LIKE pings INCLUDING ALL)")
    await connection.execute(
        "ALTER TABLE pings ATTACH PARTITION pings_2031_05 FOR VALUES FROM ('2031-05-01Z') TO ('2031-06-01Z')"
    )
    writing = asyncio.create_task(writer.write(later, 100))
    await asyncio.sleep(1)
    assert not writing.done()
    await made.commit()
    assert (await writing).others == {}
    assert await connection.fetchval("SELECT count(*) FROM pings_2031_05") == 1
    assert await connection.fetchval("SELECT count(*) FROM quarantine") == 0


async def test_quarantined_again_is_kept_once(writer, connection, poisonous):
    one = uuid4()
    for _ in range(2):
        fate = await writer.write(upload(one, ping(1, features=POISON)), 100)
        assert fate.others == {1: Status.QUARANTINED}
    assert await connection.fetchval("SELECT count(*) FROM quarantine") == 1


# ── when PostgreSQL is away ─────────────────────────────────────────────────────────────────


async def test_a_killed_connection_is_told_and_the_next_upload_gets_through(writer, connection):
    one = uuid4()
    await writer.write(upload(one, ping(1)), 100)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'telemetry-server' AND datname = current_database()"
    )
    fates = await asyncio.gather(
        *(writer.write(upload(one, ping(2)), 100) for _ in range(2)), return_exceptions=True
    )
    assert all(
        isinstance(fate, Unavailable) or not fate.others or fate.others == {2: Status.DUPLICATE}
        for fate in fates
    )
    await writer.write(upload(one, ping(2)), 100)
    assert [row["sequence"] for row in await rows(connection, one)] == [1, 2]


async def test_a_database_restored_under_a_running_server_gets_its_states_again(database, connection):
    async with GroupWriter(partial(connect_writer, database)) as writer:
        one = uuid4()
        await writer.write(upload(one, ping(1)), 100)
        await connection.execute("TRUNCATE installations, pings, states, installation_facts")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'telemetry-server' AND datname = current_database()"
        )
        with suppress(Unavailable):  # if the connection has not closed yet
            await writer.write(upload(one, ping(2)), 100)
        await writer.write(upload(one, ping(2)), 100)
        assert await connection.fetchval("SELECT count(*) FROM states WHERE installation_id = $1", one) == 1


async def test_nothing_is_acknowledged_while_the_database_is_read_only(writer, connection, database):
    one = uuid4()
    name = database.split("/")[3].split("?")[0]
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(Unavailable):
        await writer.write(upload(one, ping(1)), 100)
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert (await writer.write(upload(one, ping(1)), 100)).others == {}


async def test_what_cannot_be_written_is_a_problem_until_it_can_be_without_any_upload(
    database, connection, monkeypatch
):
    """A server that is not ready is sent nothing, so it has to find out by itself; and it writes nothing by that."""
    monkeypatch.setattr(writer_module, "TRY_AGAIN_SECONDS", 0.1)
    name = database.split("/")[3].split("?")[0]
    async with GroupWriter(partial(connect_writer, database)) as writer:
        assert writer.problem is None
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with pytest.raises(Unavailable):
            await writer.write(upload(uuid4(), ping(1)), 100)
        for _ in range(5):
            assert writer.problem == "PostgreSQL is read-only"
            await asyncio.sleep(0.2)
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await until_no_problem(writer)
        assert await connection.fetchval("SELECT count(*) FROM pings") == 0
        assert await connection.fetchval("SELECT count(*) FROM installations") == 0
        assert (await writer.write(upload(uuid4(), ping(1)), 100)).others == {}


async def test_a_lane_that_tries_again_while_another_one_writes_goes_on(database, monkeypatch):
    """What it tries with is gone then; before, the lane ended, and few pings were never written again."""
    monkeypatch.setattr(writer_module, "TRY_AGAIN_SECONDS", 0.1)
    trying, go_on = asyncio.Event(), asyncio.Event()
    connects = iter(["refused", "slow"])

    async def connect():
        match next(connects, "at once"):
            case "refused":
                raise ConnectionRefusedError
            case "slow":
                trying.set()
                await go_on.wait()
        return await connect_writer(database)

    async with GroupWriter(connect, lanes=2) as writer:
        with pytest.raises(Unavailable):
            await writer.write(upload(uuid4(), ping(1)), 100)
        await trying.wait()
        many = [ping(number) for number in range(1, writer_module.WORTH_ANOTHER_LANE + 1)]
        assert (await writer.write(upload(uuid4(), *many), 100)).others == {}
        go_on.set()
        await asyncio.sleep(0.3)
        assert writer.problem is None
        async with asyncio.timeout(patient(10)):
            assert (await writer.write(upload(uuid4(), ping(1)), 100)).others == {}


async def test_a_projection_that_fails_for_any_reason_costs_neither_the_answer_nor_the_lane(
    database, monkeypatch
):
    async def project(*_):
        raise ValueError

    monkeypatch.setattr(writer_module, "project", project)
    async with GroupWriter(partial(connect_writer, database)) as writer, asyncio.timeout(patient(10)):
        for _ in range(2):
            assert (await writer.write(upload(uuid4(), ping(1)), 100)).others == {}


async def until_no_problem(writer):
    await until(lambda: not writer.problem)


async def test_a_lock_on_one_installation_is_no_problem_of_all(writer, connection):
    one = uuid4()
    await writer.write(upload(one, ping(1)), 100)
    await connection.execute(f"BEGIN; SELECT FROM installations WHERE installation_id = '{one}' FOR UPDATE")
    with pytest.raises(Unavailable):
        await writer.write(upload(one, ping(2)), 100)
    assert writer.problem is None
    await connection.execute("ROLLBACK")


async def test_what_is_more_than_memory_allows_is_refused_at_once(database, connection):
    async with GroupWriter(partial(connect_writer, database), most_bytes=1000) as writer:
        await connection.execute("BEGIN; LOCK TABLE pings IN ACCESS EXCLUSIVE MODE")
        held = [asyncio.ensure_future(writer.write(upload(uuid4(), ping(1)), 400)) for _ in range(2)]
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable):
            await writer.write(upload(uuid4(), ping(1)), 400)
        await connection.execute("ROLLBACK")
        await asyncio.gather(*held)
        assert writer.waiting_bytes == 0
    assert await connection.fetchval("SELECT count(*) FROM pings") == 2


async def test_a_caller_that_gives_up_harms_nobody(writer, connection):
    impatient = asyncio.ensure_future(writer.write(upload(uuid4(), ping(1)), 100))
    await asyncio.sleep(0)
    impatient.cancel()
    one = uuid4()
    assert (await writer.write(upload(one, ping(1)), 100)).others == {}
    assert len(await rows(connection, one)) == 1


async def test_closing_writes_what_waits(database, connection):
    async with GroupWriter(partial(connect_writer, database)) as writer:
        waiting = [asyncio.ensure_future(writer.write(upload(uuid4(), ping(1)), 100)) for _ in range(500)]
        await asyncio.sleep(0)
    fates = await asyncio.gather(*waiting)
    assert len(fates) == await connection.fetchval("SELECT count(*) FROM pings") == 500


# ── any order, any split, any repetition ────────────────────────────────────────────────────


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_order_split_and_repetition_gives_the_same_rows(writer, connection, seed):
    chance = random.Random(seed)
    one = uuid4()
    numbers = list(range(1, 41))
    uploads = []
    for _ in range(25):
        start = chance.randrange(40)
        uploads.append([ping(n) for n in numbers[start : start + chance.randrange(1, 12)]])
    uploads.append([ping(n) for n in numbers])
    chance.shuffle(uploads)
    fates = await asyncio.gather(*(writer.write(upload(one, *pings), 100) for pings in uploads))
    assert [row["sequence"] for row in await rows(connection, one)] == numbers
    accepted = sum(len(pings) - len(fate.others) for pings, fate in zip(uploads, fates, strict=True))
    assert accepted == 40


async def test_pings_that_waited_too_long_are_refused_rather_than_committed_late(database, monkeypatch):
    """The roll-ups look back a few minutes: what is committed with an older time would never be counted."""
    monkeypatch.setattr(writer_module, "LONGEST_WAIT_SECONDS", -1)
    async with GroupWriter(partial(connect_writer, database)) as writer:
        with pytest.raises(Unavailable):
            await writer.write(upload(uuid4(), ping(1)), 100)
        monkeypatch.setattr(writer_module, "LONGEST_WAIT_SECONDS", 60)
        assert (await writer.write(upload(uuid4(), ping(1)), 100)).others == {}
