"""The roll-ups say what the rows say: in whatever order, how late, how often the uploads come."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from earlier_pings import AS_BEFORE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import until
from plain_count import PLACES, STATES, State, Told
from story import DAY, HOUR, MINUTE, NOON, REGISTRY

from telemetry_server.errors import OperatorError
from telemetry_server.jobs.cohorts import roll_up_cohorts
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.jobs.rebuild import rebuild
from telemetry_server.jobs.runner import Job, run_job
from telemetry_server.model import Verdict
from telemetry_server.store.counts import counting, rollups
from telemetry_server.store.database import make_pool
from telemetry_server.store.partitions import make_partitions, strays

# ── any order, any delay, any repetition ────────────────────────────────────────────────────

tellings = st.builds(
    Told,
    sequence=st.integers(1, 12),
    occurred_at=st.sampled_from([0, 1, 10, 11 * 60 + 59, 12 * 60, 36 * 60, 40 * 24 * 60, 500 * 24 * 60]).map(
        lambda minutes: NOON - minutes * MINUTE
    )
    | st.sampled_from([NOON + 11 * HOUR + 59 * MINUTE, NOON + 12 * HOUR + 5 * MINUTE]),
    state=st.sampled_from(STATES),
    features=st.none() | st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2**53 - 1), max_size=3),
    verdict=st.sampled_from([Verdict.VALID, Verdict.UNKNOWN_KEY]),
    mismatch=st.booleans(),
    ping_id=st.uuids(),
)
sendings = st.tuples(
    st.integers(0, 2),
    st.sampled_from([0, 1, 4, 716, 721, 3000]).map(lambda minutes: NOON + minutes * MINUTE),
    st.integers(0, len(PLACES) - 1),
    st.lists(tellings, min_size=1, max_size=4, unique_by=lambda one: one.sequence),
)
ROLL_UP = "roll up"


@given(
    data=st.data(),
    sent=st.lists(sendings, min_size=1, max_size=8),
    slice_pings=st.sampled_from([1, 3, 100]),
    small_fleet=st.booleans(),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_sums_of_roll_ups_are_counts_of_rows(story, data, sent, slice_pings, small_fleet):
    """Uploads come in any order and again, with roll-ups between them: the server's clock goes on meanwhile."""
    copies = await story.begin_anew()
    await story.pretend_fleet(1 if small_fleet else 1_000_000)
    again = data.draw(st.lists(st.sampled_from(sent), max_size=4))
    now = NOON
    for step in data.draw(st.permutations([*sent, *again, ROLL_UP, ROLL_UP])):
        if step == ROLL_UP:
            await story.roll_up(now + MINUTE, slice_pings)
            continue
        copy, received_at, place, told = step
        now = max(now, received_at)
        await story.send(copies[copy], now, *told, product=copy % 2, place=place)
        if data.draw(st.booleans()):
            await story.connection.execute(AS_BEFORE)
    await story.roll_up(now + 6 * MINUTE, slice_pings)
    await story.roll_up(now + 21 * MINUTE, slice_pings)
    await story.agrees()


# ── killed, twice, behind ───────────────────────────────────────────────────────────────────


async def _some_days(story, copies=2):
    """Pings of three days, by some copies; gives the time after them."""
    for number in range(1, 7):
        for copy in range(copies):
            at = NOON + number * 12 * HOUR
            await story.send(
                UUID(int=copy + 1), at, Told(number, at - MINUTE, STATES[number % 3], {"a": number, "b": 1})
            )
    return NOON + 4 * DAY


async def test_a_run_that_is_killed_is_repeated_cleanly(story, database):
    now = await _some_days(story)
    victim, holder = await asyncpg.connect(database), await asyncpg.connect(database)
    hold = holder.transaction()
    await hold.start()
    await holder.execute("LOCK TABLE days_due")
    run = asyncio.ensure_future(roll_up_pings(REGISTRY, 5)(victim, now))
    await _until_it_waits(story.connection)
    victim.terminate()
    await hold.rollback()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await run
    await _until_nobody_is_at_it(story.connection)
    assert await story.installation_days() == {}
    assert await story.connection.fetchval("SELECT reached_at FROM rollup_marks") == NOON + 12 * HOUR
    await story.roll_up(now)
    await story.agrees()
    await holder.close()


async def _until_it_waits(connection):
    await until(lambda: connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))


async def _until_nobody_is_at_it(connection):
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%touched AS%' AND state = 'active' AND pid <> pg_backend_pid()"
    await until(lambda: connection.fetchval(f"SELECT ({busy}) = 0"))


async def test_a_run_that_fails_half_way_goes_on_where_it_was(story, monkeypatch):
    now = await _some_days(story)
    real, calls = rollups.roll_up_pings, []

    async def fails_the_third_time(*arguments):
        calls.append(arguments[1])
        if len(calls) == 3:
            raise OSError("no luck")
        return await real(*arguments)

    monkeypatch.setattr(rollups, "roll_up_pings", fails_the_third_time)
    with pytest.raises(OSError, match="no luck"):
        await roll_up_pings(REGISTRY, 4)(story.connection, now)
    assert await story.connection.fetchval("SELECT reached_at FROM rollup_marks") == calls[1].until
    await story.roll_up(now, 4)
    assert calls[3].since == NOON + 2 * DAY - 5 * MINUTE
    await story.agrees()


async def test_two_at_once_count_once(story, database):
    now = await _some_days(story, copies=5)
    async with make_pool(database) as pool:
        jobs = [
            Job(name, run(REGISTRY), every=MINUTE)
            for name, run in (("pings", roll_up_pings), ("days", roll_up_days), ("cohorts", roll_up_cohorts))
        ]

        async def by_hand(job):
            async with pool.acquire() as connection:
                await job.run(connection, now)

        for job in jobs:
            await asyncio.gather(
                by_hand(job), by_hand(job), run_job(job, pool.acquire), run_job(job, pool.acquire)
            )
    await story.agrees()


@pytest.mark.parametrize("guarded", [False, True])
async def test_no_change_is_missed_by_a_count_that_began_before_it(story, database, monkeypatch, guarded):
    """The race, with and without the lock on what is due: a day is counted while another change of it is under way."""
    now = await _some_days(story)
    await roll_up_pings(REGISTRY)(story.connection, now)
    if not guarded:
        sql = rollups.SQL["roll_up_pings"]
        unguarded = sql.replace("DO UPDATE SET due_since = days_due.due_since", "DO NOTHING")
        assert unguarded != sql
        monkeypatch.setitem(rollups.SQL, "roll_up_pings", unguarded)
    await story.send(UUID(int=1), now, Told(20, NOON + 3 * DAY, features={"a": 1}))
    other = await asyncpg.connect(database)
    async with story.connection.transaction():
        await roll_up_pings(REGISTRY)(story.connection, now + MINUTE)
        counting = asyncio.ensure_future(roll_up_days(REGISTRY)(other, now + HOUR))
        if guarded:
            await _until_it_waits(story.connection)
        else:
            await counting
    await counting
    await other.close()
    if guarded:
        await story.agrees()
    else:
        assert await story.fleet_days() != story.plain.fleet_days()


# ── the mark ────────────────────────────────────────────────────────────────────────────────


async def test_without_pings_there_is_nothing_to_do(story):
    await story.roll_up(NOON)
    assert await story.connection.fetch("TABLE rollup_marks") == []
    await story.agrees()


async def test_a_ping_committed_a_little_late_is_seen_by_the_next_run(story):
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await story.roll_up(NOON + MINUTE)
    await story.send(UUID(int=2), NOON + MINUTE - timedelta(seconds=9), Told(1, NOON))
    await story.roll_up(NOON + 2 * MINUTE)
    await story.agrees()


@pytest.mark.parametrize("minute", [-5, -1, 0, 7, 9])
async def test_a_ping_committed_at_the_latest_is_seen_in_the_next_quarter_of_an_hour(story, minute):
    """It was received at that minute of a quarter, and is committed five minutes later."""
    received_at = NOON + minute * MINUTE
    for ran in range(-5, minute + 5):
        await roll_up_pings(REGISTRY)(story.connection, NOON + ran * MINUTE)
    await story.send(UUID(int=1), received_at, Told(1, NOON))
    for ran in range(minute + 5, 16):
        await roll_up_pings(REGISTRY)(story.connection, NOON + ran * MINUTE)
    await roll_up_days(REGISTRY)(story.connection, NOON + 16 * MINUTE)
    await story.agrees()


async def test_a_mark_in_the_future_is_taken_back(story):
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await story.roll_up(NOON + 3 * DAY)
    await story.send(UUID(int=2), NOON + MINUTE, Told(1, NOON))
    await story.roll_up(NOON + 2 * MINUTE)
    await story.agrees()
    assert await story.connection.fetchval("SELECT reached_at FROM rollup_marks") == NOON + 2 * MINUTE


async def test_where_the_mark_is_moved_back_during_a_run_the_pings_of_the_past_are_counted(
    story, monkeypatch
):
    """As "simulate" does."""
    now = await _some_days(story)
    await story.roll_up(now)
    real, past = rollups.next_slice, NOON - 3 * DAY

    async def a_past_is_made_up_meanwhile(*arguments):
        monkeypatch.setattr(rollups, "next_slice", real)
        part = await real(*arguments)
        await story.send(UUID(int=7), past, Told(1, past, features={"a": 1}))
        await story.connection.execute("UPDATE rollup_marks SET reached_at = $1", past)
        return part

    monkeypatch.setattr(rollups, "next_slice", a_past_is_made_up_meanwhile)
    await roll_up_pings(REGISTRY, 1)(story.connection, now + MINUTE)
    assert past.date() in {day for day, _ in await story.installation_days()}
    await roll_up_days(REGISTRY)(story.connection, now + MINUTE)
    await story.agrees()


async def test_what_did_not_change_is_neither_written_nor_due(story):
    now = await _some_days(story)
    await story.roll_up(now)
    tables = "installation_days", "fleet_days", "feature_days"
    before = [await story.connection.fetch(f"SELECT *, xmin::text FROM {table}") for table in tables]
    await story.connection.execute("DELETE FROM rollup_marks")
    await roll_up_pings(REGISTRY)(story.connection, now)
    changed = await story.connection.fetchval("SELECT count(*) FROM days_due")
    await roll_up_days(REGISTRY)(story.connection, now)
    after = [await story.connection.fetch(f"SELECT *, xmin::text FROM {table}") for table in tables]
    assert (changed, after) == (0, before)


async def test_numbers_do_not_shrink_while_a_run_catches_up(story):
    """A slice of the overlap counts all the last run saw, too."""
    for number in range(1, 5):
        await story.send(UUID(int=1), NOON + number * MINUTE, Told(number, NOON))
    await story.roll_up(NOON + 5 * MINUTE)
    seen = []
    real = rollups.roll_up_pings

    async def watched(connection, *arguments):
        changed = await real(connection, *arguments)
        seen.append(await connection.fetchval("SELECT pings FROM installation_days"))
        return changed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollups, "roll_up_pings", watched)
        await story.roll_up(NOON + 16 * MINUTE, 1)
    assert set(seen) == {4}
    assert len(seen) > 3


# ── the calendar ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati"])
@pytest.mark.parametrize(
    "midnight",
    ["2026-03-29", "2026-10-25", "2028-02-29", "2028-03-01", "2027-01-01", "2028-01-01", "2028-12-31"],
)
async def test_days_are_those_of_utc_whatever_the_session_says(story, zone, midnight):
    """Summer time begins and ends, leap day, year end: a day is 24 hours."""
    await story.connection.execute(f"SET timezone = '{zone}'")
    at = datetime.fromisoformat(midnight).replace(tzinfo=UTC)
    moments = [
        at - timedelta(microseconds=1),
        at,
        at + 2 * HOUR,
        at + DAY - timedelta(microseconds=1),
        at + DAY,
    ]
    for number, moment in enumerate(moments, 1):
        await story.send(UUID(int=1), moment + MINUTE, Told(number, moment, features={"a": 1}))
    await story.roll_up(at + 2 * DAY)
    await story.agrees()
    rows = await story.connection.fetch("SELECT day, pings FROM installation_days ORDER BY day")
    assert [row["pings"] for row in rows] == [1, 3, 1]
    assert rows[1]["day"].isoformat() == midnight


@pytest.mark.parametrize(
    "clock",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
        NOON + 11 * MINUTE,
        NOON - 401 * DAY,
    ],
)
async def test_a_clock_far_off_counts_on_the_day_it_was_received(story, clock):
    await story.send(UUID(int=1), NOON, Told(1, clock))
    await story.send(UUID(int=1), NOON + MINUTE, Told(2, NOON))
    await story.roll_up(NOON + 2 * MINUTE)
    await story.agrees()
    assert (
        await story.connection.fetchval("SELECT pings FROM installation_days WHERE day = $1", NOON.date())
        == 2
    )


@pytest.mark.parametrize("fleet", [1, 1_000_000])
async def test_a_clock_a_little_ahead_counts_on_the_next_day_beside_what_comes_later(story, fleet):
    """However the pings of a day are found: by the time they came, or in the history of each copy."""
    await story.pretend_fleet(fleet)
    midnight = NOON + 12 * HOUR
    await story.send(UUID(int=1), midnight - 9 * MINUTE, Told(1, midnight, features={"a": 1}))
    await story.roll_up(midnight + 10 * MINUTE)
    await story.send(UUID(int=1), midnight + DAY - HOUR, Told(2, midnight + HOUR, features={"a": 1}))
    await story.roll_up(midnight + DAY)
    await story.agrees()
    assert await story.connection.fetchval("SELECT pings FROM installation_days") == 2


async def test_late_pings_repair_their_day_and_find_its_month(story):
    months = [NOON - days * DAY for days in (0, 40, 399)]
    for number, moment in enumerate(months, 1):
        await story.send(UUID(int=1), NOON, Told(number, moment, features={"a": number}))
    await story.roll_up(NOON + MINUTE)
    await story.agrees()
    await story.send(UUID(int=2), NOON + DAY, Told(1, months[2], features={"a": 5}))
    await story.roll_up(NOON + DAY + MINUTE)
    await story.agrees()
    assert await strays(story.connection) == {}


async def test_behind_a_long_export_late_pings_go_to_the_default_partition(story, database):
    """Partitions wait for no reader: a dump that takes hours holds nothing up."""
    reader = await asyncpg.connect(database)
    async with reader.transaction():
        await reader.fetch("SELECT count(*) FROM installation_days")
        await story.send(UUID(int=1), NOON, Told(1, NOON - 100 * DAY))
        await story.roll_up(NOON + MINUTE)
    await reader.close()
    assert await strays(story.connection) == {"installation_days": 1}
    await make_partitions(story.connection, NOON.date())
    assert await strays(story.connection) == {}
    await story.agrees()


async def test_pings_from_before_there_was_a_registry_have_the_verdict_that_can_be_known(story):
    await story.send(UUID(int=1), NOON, Told(1, NOON, STATES[0]))
    await story.send(UUID(int=2), NOON, Told(1, NOON, STATES[1]))
    await story.connection.execute(
        "UPDATE pings SET verdict_code = NULL, claim_mismatch = NULL, source_mismatch = NULL"
    )
    await story.roll_up(NOON + MINUTE)
    rows = await story.connection.fetch(
        "SELECT verdict, claim_mismatch FROM installation_days ORDER BY installation_id"
    )
    assert [tuple(row) for row in rows] == [("unknown_key", False), ("no_key", False)]


# ── too many ────────────────────────────────────────────────────────────────────────────────


async def test_of_very_many_values_the_rest_is_other_and_the_sums_stay_right(story, monkeypatch):
    monkeypatch.setattr(rollups, "MOST_VALUES", 3)
    for copy in range(1, 11):
        facts = {"license": {"status": "licensed"}, "service": {"version": f"1.{min(copy, 8)}"}}
        state = State(100 + copy, facts, None, {})
        features = {f"f{copy}": 1, "common": 2, "other": copy % 2, f"g{copy}": 0}
        await story.send(UUID(int=copy), NOON, Told(1, NOON, state, features))
    await story.roll_up(NOON + MINUTE)
    fleet = await story.fleet_days()
    versions = {key[3]: row for key, row in fleet.items() if key[2] == "version" and key[4] == ""}
    assert versions == {"1.8": (3, 3), "1.1": (1, 1), "1.2": (1, 1), "other": (5, 5)}
    features = {key[2]: row for key, row in (await story.feature_days()).items()}
    assert features == {"common": (20, 10), "f1": (1, 1), "other": (14, 10)}


async def test_other_counts_whoever_used_several_of_the_rest_once(story, monkeypatch):
    monkeypatch.setattr(rollups, "MOST_VALUES", 1)
    await story.send(UUID(int=1), NOON, Told(1, NOON, features={"a": 9, "b": 1, "c": 2}))
    await story.send(UUID(int=2), NOON, Told(1, NOON, features={"a": 9, "c": 3}))
    await story.send(UUID(int=3), NOON, Told(1, NOON, features={"a": 9}), product=1)
    await story.roll_up(NOON + MINUTE)
    rows = {(key[0], key[2]): row for key, row in (await story.feature_days()).items()}
    assert rows == {
        (story.products[0], "a"): (18, 2),
        (story.products[0], "other"): (6, 2),
        (story.products[1], "a"): (9, 1),
    }


@pytest.mark.parametrize("pings", [5, 100])  # 32 and 640 KiB of counters
async def test_a_copy_that_makes_up_features_all_day_is_one_row_and_its_uses_are_all_there(story, pings):
    made_up = [
        Told(number, NOON, features={f"made.up.{number}.{name}": 1 for name in range(250)})
        for number in range(1, pings + 1)
    ]
    honest = [Told(number, NOON, features={"honest": 1}) for number in range(1, pings + 1)]
    await story.send(UUID(int=1), NOON, *made_up)
    await story.send(UUID(int=2), NOON, *honest)
    await story.send(UUID(int=3), NOON, honest[0])
    await story.roll_up(NOON + HOUR)
    rows = await story.connection.fetch("SELECT features FROM v_installation_days ORDER BY installation_id")
    told = [json.loads(row["features"]) for row in rows]
    assert told == [{"other": 250 * pings}, {"honest": pings}, {"honest": 1}]


# ── which days are counted when ─────────────────────────────────────────────────────────────


async def test_a_large_day_is_counted_when_it_has_waited_and_a_small_one_at_once(story, monkeypatch):
    monkeypatch.setattr("telemetry_server.jobs.days.SMALL", 2)
    for copy in range(1, 4):
        await story.send(UUID(int=copy), NOON, Told(1, NOON))
    await story.roll_up(NOON + MINUTE)  # not counted yet, so nobody knows that it is large
    await story.agrees()
    await story.send(UUID(int=9), NOON + MINUTE, Told(1, NOON))
    await story.roll_up(NOON + 2 * MINUTE)
    assert [row["due_since"] for row in await story.connection.fetch("TABLE days_due")] == [NOON + 2 * MINUTE]
    await story.send(UUID(int=10), NOON + 3 * MINUTE, Told(1, NOON))
    await story.roll_up(NOON + 6 * MINUTE)
    assert [row["due_since"] for row in await story.connection.fetch("TABLE days_due")] == [NOON + 2 * MINUTE]
    await story.roll_up(NOON + 7 * MINUTE)
    await story.agrees()


async def test_what_waits_is_told(story):
    assert await rollups.progress(story.connection) == rollups.Progress(None, None)
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    assert await rollups.progress(story.connection) == rollups.Progress(NOON, None)
    await roll_up_pings(REGISTRY)(story.connection, NOON + MINUTE)
    assert await rollups.progress(story.connection) == rollups.Progress(NOON + MINUTE, NOON + MINUTE)
    await roll_up_days(REGISTRY)(story.connection, NOON + MINUTE)
    assert await rollups.progress(story.connection) == rollups.Progress(NOON + MINUTE, None)


async def test_the_dimensions_that_are_rolled_up_are_those_that_are_asked_for(story):
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await story.roll_up(NOON + MINUTE)
    written = await story.connection.fetch("SELECT DISTINCT dimension FROM fleet_days")
    assert {row["dimension"] for row in written} == counting.ROLLED_DIMENSIONS


# ── counting anew by hand ───────────────────────────────────────────────────────────────────


async def test_a_range_of_days_is_rebuilt_from_the_pings_alone(story):
    now = await _some_days(story)
    late = NOON + DAY
    await story.send(UUID(int=1), now, Told(30, late, features={"z": 1}))
    now += HOUR
    await story.roll_up(now)
    await story.connection.execute(
        "UPDATE installation_days SET pings = 99, counters = NULL, verdict = 'expired'"
    )
    await story.connection.execute("UPDATE fleet_days SET pings = 99")
    await story.connection.execute(
        "INSERT INTO installation_days SELECT day, gen_random_uuid(), product_id, state, verdict, false, false, 1, NULL"
        " FROM installation_days"
    )
    done = [
        part async for part in rebuild(story.connection, REGISTRY, NOON.date(), (NOON + 9 * DAY).date(), now)
    ]
    assert done[-1] == 1
    await story.agrees()


async def test_a_rebuild_leaves_the_other_days_alone(story):
    now = await _some_days(story)
    await story.roll_up(now)
    await story.connection.execute("UPDATE installation_days SET pings = 99")
    day = (NOON + 2 * DAY).date()
    async for _ in rebuild(story.connection, REGISTRY, day, day, now):
        pass
    rows = await story.connection.fetch("SELECT DISTINCT day FROM installation_days WHERE pings <> 99")
    assert [row["day"] for row in rows] == [day]


async def test_a_rebuild_that_is_interrupted_leaves_a_month_as_it_was(story):
    now = await _some_days(story)
    await story.roll_up(now)
    walk = rebuild(story.connection, REGISTRY, NOON.date(), NOON.date() + 5 * DAY, now)
    await anext(walk)
    await walk.aclose()
    await story.agrees()


async def test_what_is_not_there_is_not_rebuilt(story):
    with pytest.raises(OperatorError, match="Nothing is counted yet"):
        await anext(rebuild(story.connection, REGISTRY, NOON.date(), NOON.date(), NOON))
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await story.roll_up(NOON + MINUTE)
    with pytest.raises(OperatorError, match="are deleted"):
        await anext(rebuild(story.connection, REGISTRY, (NOON - 401 * DAY).date(), NOON.date(), NOON))
