"""Names of features and their numbers: each name has one, a ping has numbers, and no ping waits or is lost for them."""

import asyncio
import json
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from uuid import uuid4

import pytest
from checked_pings import make_checked_ping, make_signed_upload
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry_server.errors import Unavailable
from telemetry_server.model import Status
from telemetry_server.store.database import connect_writer
from telemetry_server.store.ingest import feature_names
from telemetry_server.store.ingest.feature_names import counters_of, number_names
from telemetry_server.store.ingest.writer import GroupWriter
from telemetry_server.store.registry.products import add_product

pytestmark = pytest.mark.every_postgres

LARGEST = 2**53 - 1


@pytest.fixture
async def product(connection):
    product, _ = await add_product(connection, "Billing", now=datetime.now(UTC))
    return product.id


@pytest.fixture
async def writer(database):
    async with GroupWriter(partial(connect_writer, database), lanes=2) as writer:
        yield writer


async def stored(connection):
    """The counters of all pings by installation, as everyone reads them."""
    rows = await connection.fetch("SELECT installation_id, features FROM v_pings ORDER BY sequence")
    return {row["installation_id"]: row["features"] and json.loads(row["features"]) for row in rows}


async def send(writer, product, *features):
    """One ping for each of `features`, by as many installations, at once; gives what was sent by installation."""
    sent = {uuid4(): each for each in features}
    uploads = [
        make_signed_upload(one, product, make_checked_ping(1, features=each)) for one, each in sent.items()
    ]
    fates = await asyncio.gather(*(writer.write(upload, 100) for upload in uploads))
    assert all(fate.others == {} for fate in fates)
    return sent


# ── bytes ───────────────────────────────────────────────────────────────────────────────────

numbered = st.dictionaries(
    st.integers(0, 5) | st.integers(250, 260) | st.integers(32_760, 32_767),
    st.integers(0, 300) | st.sampled_from([65_535, 65_536, 2**31 - 1]),
    max_size=20,
)


@given(uses=numbered)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_postgresql_reads_and_writes_the_bytes_that_the_server_writes(connection, uses):
    names = {f"feature {number}": number for number in sorted(uses)}
    counters, rest = counters_of({name: uses[number] for name, number in names.items()}, names)
    assert rest is None
    rows = await connection.fetch("SELECT number, uses FROM counted($1)", counters)
    assert dict(rows) == uses
    summed = await connection.fetchval("SELECT counters_of($1, $2)", list(uses), list(uses.values()))
    assert summed == (counters if uses else None)


# ── names ───────────────────────────────────────────────────────────────────────────────────


async def test_what_is_sent_is_what_is_read(writer, connection, product):
    sent = await send(
        writer, product, None, {}, {"a": 0}, {"a": 1, "b": LARGEST}, {"b": 2**31 - 1, "c": 2**31}, {"a": 300}
    )
    assert await stored(connection) == sent
    assert await connection.fetchval("SELECT count(*) FROM pings WHERE features IS NOT NULL") == 2


async def test_names_that_several_processes_meet_at_once_have_one_number(database, connection, product):
    lanes = [await connect_writer(database) for _ in range(6)]
    asked = [[f"shared.{n}" for n in range(20)] + [f"of.{lane}.{n}" for n in range(9)] for lane in range(6)]
    found = await asyncio.gather(
        *(number_names(lane, product, names) for lane, names in zip(lanes, asked, strict=True))
    )
    rows = dict(await connection.fetch("SELECT name, number FROM feature_names"))
    assert sorted(rows.values()) == list(range(20 + 6 * 9))
    for names, numbers in zip(asked, found, strict=True):
        assert numbers == {name: rows[name] for name in names}
    for lane in lanes:
        await lane.close()


async def test_a_product_that_invents_names_keeps_its_pings_and_leaves_numbers_to_others(
    writer, connection, product, monkeypatch
):
    monkeypatch.setattr(feature_names, "MOST_NAMES", 10)
    invented = (f"made.up.{n}" for n in range(1000))
    flood = [dict.fromkeys(islice(invented, 7), 3) for _ in range(30)]
    sent = await send(writer, product, *flood)
    sent |= await send(writer, product, {"honest": 1})
    other, _ = await add_product(connection, "Shop", now=datetime.now(UTC))
    sent |= await send(writer, other.id, {"checkout": 1, "made.up.999": 2})
    assert await stored(connection) == sent
    counts = await connection.fetch("SELECT product_id, count(*) FROM feature_names GROUP BY 1")
    assert dict(counts) == {product: 10, other.id: 2}


async def test_a_poisonous_ping_costs_no_counter_of_the_others(writer, connection, product):
    one = uuid4()
    pings = [make_checked_ping(n, features={"good": n, f"new.{n}": 1}) for n in range(1, 9)]
    pings[3] = make_checked_ping(4, facts='{"license":{"status":"\\u0000"}}', state=b"x" * 16)
    fate = await writer.write(make_signed_upload(one, product, *pings), 100)
    assert fate.others == {4: Status.QUARANTINED}
    rows = await connection.fetch("SELECT sequence, features FROM v_pings ORDER BY sequence")
    assert {row["sequence"]: json.loads(row["features"]) for row in rows} == {
        n: {"good": n, f"new.{n}": 1} for n in range(1, 9) if n != 4
    }


async def test_after_the_database_was_restored_names_have_the_numbers_of_the_restored_one(
    database, connection, product
):
    """The connections end with the old database, and what they knew with them."""
    async with GroupWriter(partial(connect_writer, database)) as writer:
        await send(writer, product, {"a": 1, "b": 2})
        await connection.execute("TRUNCATE pings, feature_names")
        await connection.execute(
            "INSERT INTO feature_names VALUES (0, 'b', '\"b\":', $1), (1, 'c', '\"c\":', $1)", product
        )
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'telemetry-server' AND datname = current_database()"
        )
        sent = {}
        while not sent:
            with suppress(Unavailable):
                sent = await send(writer, product, {"a": 3, "b": 4, "c": 5})
        assert await stored(connection) == sent


async def test_names_that_are_numbered_anew_under_the_writer_keep_their_pings(writer, connection, product):
    """A table that is emptied and filled again has other numbers, and the connections go on."""
    await send(writer, product, {"a": 1, "b": 2})
    await connection.execute("TRUNCATE pings, feature_names")
    await connection.execute(
        "INSERT INTO feature_names VALUES (0, 'b', '\"b\":', $1), (1, 'c', '\"c\":', $1)", product
    )
    sent = await send(writer, product, {"a": 3, "b": 4, "c": 5})
    assert await stored(connection) == sent


@pytest.mark.one_machine(reason="a cluster is restored node by node, by its files")
async def test_a_database_that_is_restored_under_the_running_server_keeps_its_own_numbers_and_all_facts(
    cluster, database, connection, product, tmp_path
):
    """The connections go on: neither numbers nor states are taken for written that the restored one does not have."""
    processes = (
        "SELECT array_agg(pid ORDER BY pid) FROM pg_stat_activity"
        " WHERE application_name = 'telemetry-server' AND datname = current_database()"
    )
    dump = tmp_path / "dump"
    one = uuid4()

    def of_one(number, **features):
        return make_signed_upload(one, product, make_checked_ping(number, features=features))

    async with GroupWriter(partial(connect_writer, database)) as writer:
        await send(writer, product, {"a": 1})
        tool(cluster, "pg_dump", "--format=custom", f"--file={dump}", database)
        await writer.write(of_one(1, late=1), 100)
        connected = await connection.fetchval(processes)
        # pg_restore --clean stumbles over constraints of partitions.
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        tool(cluster, "pg_restore", f"--dbname={database}", dump)
        assert await number_names(connection, product, ["other"]) == {"other": 1}
        await writer.write(of_one(2, a=2, late=3, other=4), 100)
        assert await connection.fetchval(processes) == connected
    assert (await stored(connection))[one] == {"a": 2, "late": 3, "other": 4}
    assert await connection.fetchval("SELECT facts IS NOT NULL FROM v_pings WHERE installation_id = $1", one)


def tool(cluster, program, *arguments):
    subprocess.run([cluster.programs / program, *arguments], check=True, timeout=60)
