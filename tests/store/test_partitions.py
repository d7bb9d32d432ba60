"""The months of pings: the default partition raises an alarm and loses nothing."""

import re
from datetime import UTC, date, datetime
from uuid import uuid4

import pytest

from telemetry_server.jobs.retention import forget_old_pings
from telemetry_server.store.partitions import drop_partitions, make_partitions, partition_months, strays

pytestmark = pytest.mark.every_postgres

INSERT = """
INSERT INTO pings (received_at, installation_id, sequence, ping_id, occurred_at, time_suspect, state, details)
VALUES ($1, $2, 1, $2, $1, false, decode(repeat('00', 16), 'hex'), '{}')
"""


async def insert(connection, moment):
    await connection.execute(INSERT, moment, uuid4())


async def table_of(connection, moment):
    table = await connection.fetchval(
        "SELECT tableoid::regclass::text FROM pings WHERE received_at = $1", moment
    )
    return re.sub(r"_\d{6,}$", "", table)  # on a cluster it is a shard


async def test_a_ping_that_no_month_takes_lands_in_the_default_and_is_moved(connection, capsys):
    moment = datetime(2031, 5, 31, 23, 59, 59, tzinfo=UTC)
    await insert(connection, moment)
    assert await strays(connection) == {"pings": 1}
    assert await table_of(connection, moment) == "pings_default"
    assert date(2031, 5, 1) in await make_partitions(connection, date(2026, 11, 23))
    assert await table_of(connection, moment) == "pings_2031_05"
    assert await strays(connection) == {}
    assert "pings in the default partition" in capsys.readouterr().err


async def test_months_meet_at_midnight_utc_whatever_the_session_says(connection):
    await connection.execute("SET timezone = 'Pacific/Kiritimati'")
    await make_partitions(connection, date(2027, 12, 15))
    last, first = datetime(2027, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    await insert(connection, last)
    await insert(connection, first)
    assert await table_of(connection, last) == "pings_2027_12"
    assert await table_of(connection, first) == "pings_2028_01"


async def test_a_leap_day_has_its_month(connection):
    await make_partitions(connection, date(2028, 2, 29))
    moment = datetime(2028, 2, 29, 12, tzinfo=UTC)
    await insert(connection, moment)
    assert await table_of(connection, moment) == "pings_2028_02"


async def test_a_month_is_dropped_when_its_last_day_is_over(connection):
    await make_partitions(connection, date(2025, 1, 10))
    assert await drop_partitions(connection, date(2026, 3, 8), 400) == []
    assert await drop_partitions(connection, date(2026, 3, 9), 400) == [date(2025, 1, 1)]
    assert date(2025, 1, 1) not in await partition_months(connection)


async def test_a_state_goes_with_its_last_ping_but_the_present_one_stays(connection):
    one, old, present = uuid4(), b"o" * 16, b"p" * 16
    for state in (old, present):
        await connection.execute(
            "INSERT INTO states VALUES ($1, $2, now() - interval '500 days', 'licensed', NULL, NULL, '{}', '{}')",
            one,
            state,
        )
    await connection.execute(
        """INSERT INTO installations (installation_id, product_id, received, received_before, first_received_at,
               last_received_at, last_sequence, last_occurred_at, state)
           VALUES ($1, $1, '{[1,3)}', '{}', now(), now(), 2, now(), $2)""",
        one,
        present,
    )
    from telemetry_server.check.fields import load_registry

    await forget_old_pings(load_registry())(connection, datetime.now(UTC))
    assert [row["state"] for row in await connection.fetch("SELECT state FROM states")] == [present]


async def test_a_month_that_a_clock_far_behind_received_stays_as_long_as_its_copies_say(connection):
    today, old = date(2026, 11, 29), datetime(2025, 7, 18, tzinfo=UTC)
    await make_partitions(connection, old.date())
    for number in range(3):
        await insert(connection, old.replace(hour=number))
    await connection.execute(
        "UPDATE pings SET occurred_at = '2026-11-29' WHERE received_at < '2025-07-18 02:00Z'"
    )
    assert date(2025, 7, 1) not in await drop_partitions(connection, today, 400)
    assert date(2025, 7, 1) in await drop_partitions(connection, date(2028, 1, 4), 400)


async def test_one_copy_whose_clock_is_ahead_keeps_no_month(connection):
    old = datetime(2025, 7, 18, tzinfo=UTC)
    await make_partitions(connection, old.date())
    for number in range(3):
        await insert(connection, old.replace(hour=number))
    await connection.execute("UPDATE pings SET occurred_at = '2031-01-01' WHERE received_at = $1", old)
    assert date(2025, 7, 1) in await drop_partitions(connection, date(2026, 11, 29), 400)
