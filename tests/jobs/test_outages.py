"""Nobody is accused on bad evidence: what nobody could report, or nobody did, is no silence of a copy."""

from datetime import timedelta
from uuid import uuid4

import pytest

from telemetry_server.jobs import outages
from telemetry_server.store.registry.products import change_schedule

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture(autouse=True)
async def hourly(fleet, monkeypatch):
    """Hourly copies with an hour of grace, lost after 30, new for 7, that come back within a quarter."""
    monkeypatch.setattr(outages, "PATIENCE", 15 * MINUTE)
    monkeypatch.setattr(outages, "LONGEST", 7 * HOUR)
    hours = {"interval": 1, "grace": 1, "lost_after": 30, "new_for": 7}
    schedule = {f"{name}_seconds": count * 3600 for name, count in hours.items()}
    await change_schedule(fleet.connection, "billing", **schedule)


@pytest.fixture
def lives(fleet):
    async def lives(copies):
        return {(await fleet.life(copy))[0] for copy in copies}

    return lives


# ── the server was away ─────────────────────────────────────────────────────────────────────


async def test_after_an_outage_of_the_server_nobody_is_late_who_was_in_time_before(fleet, start, lives):
    in_time, [gone] = await fleet.copies(4, start), await fleet.copies(1, start - 20 * HOUR)
    away, back = start + 30 * MINUTE, start + 30 * MINUTE + 5 * HOUR
    await fleet.watch(away)
    await fleet.watch(back)
    assert await fleet.outages() == [(away, back + 15 * MINUTE)]
    assert await lives(in_time) == {"new"}
    # of their two hours 30 minutes had passed; the rest is left to them once copies had time to come back
    ends = back + 15 * MINUTE + 90 * MINUTE
    await fleet.watch_often(back, ends - MINUTE, every=4 * MINUTE)
    assert await lives(in_time) == {"active"}
    await fleet.watch(ends)
    assert {await fleet.life(copy) for copy in in_time} == {("late", ends)}
    # and whoever had been silent for long before is late since then, and lost so much later
    assert await fleet.timeline(gone) == [(start - 18 * HOUR, 1, "new", "late")]
    lost_at = start + 10 * HOUR + 5 * HOUR + 15 * MINUTE
    await fleet.watch_often(ends, lost_at, every=4 * MINUTE)
    assert await fleet.life(gone) == ("lost", lost_at)


async def test_a_short_stop_is_no_outage(fleet, start):
    await fleet.copies(3, start)
    await fleet.watch(start + HOUR)
    await fleet.watch(start + HOUR + 4 * MINUTE)
    assert await fleet.outages() == []


async def test_while_pings_come_the_server_is_there_even_if_it_does_not_say_so(fleet, start):
    one, other = uuid4(), uuid4()
    await fleet.ping(one, start)
    await fleet.watch(start)
    for minutes in range(2, 120, 4):
        await fleet.ping(other, start + minutes * MINUTE)
    await fleet.watch(start + 2 * HOUR)
    assert await fleet.outages() == []
    assert await fleet.life(one) == ("late", start + 2 * HOUR)


async def test_pings_before_the_first_look_after_an_outage_do_not_hide_it(fleet, start, lives):
    one, other = uuid4(), uuid4()
    await fleet.ping(one, start)
    await fleet.watch(start + MINUTE)
    await fleet.ping(other, start + 3 * HOUR)
    await fleet.watch(start + 3 * HOUR + MINUTE)
    assert await fleet.outages() == [(start + MINUTE, start + 3 * HOUR + 15 * MINUTE)]
    assert await lives([one]) == {"new"}


async def test_a_server_whose_jobs_run_seldom_is_there_all_the_same(fleet, start, lives):
    """A server says that it serves, whoever does the jobs, be it a person now and then."""
    one = uuid4()
    await fleet.ping(one, start)
    for minutes in range(181):
        await outages.note_absence(fleet.connection, start + minutes * MINUTE)
    await fleet.watch(start + 3 * HOUR)
    assert (await fleet.outages(), await fleet.life(one)) == ([], ("late", start + 2 * HOUR))


async def test_a_job_that_somebody_runs_while_the_server_is_away_is_no_server(fleet, start, lives):
    one = uuid4()
    await fleet.ping(one, start)
    for hour in range(6):
        await fleet.watch(start + hour * HOUR)
    assert await lives([one]) == {"new"}


async def test_before_the_first_run_nothing_is_known_of_outages(fleet, start, lives):
    one = uuid4()
    await fleet.ping(one, start)
    await fleet.watch(start + 3 * HOUR)
    assert (await fleet.outages(), await lives([one])) == ([], {"late"})


# ── the server ran, and nobody was heard: a proxy, a certificate, the DNS ────────────────────


async def test_a_server_that_nobody_reaches_blames_nobody(fleet, start, lives):
    copies = [copy for n in range(12) for copy in await fleet.copies(1, start + n * 5 * MINUTE)]
    last, mended = start + 55 * MINUTE, start + 5 * HOUR
    await fleet.watch_often(last, mended, every=4 * MINUTE)
    assert await fleet.outages() == [(last, mended - MINUTE + 15 * MINUTE)]  # as of the last look
    assert await lives(copies) == {"new"}
    await fleet.ping(copies[0], mended)
    await fleet.watch_often(mended, mended + HOUR, every=4 * MINUTE)
    assert await lives(copies) == {"new"}
    # the second one had been silent for 50 minutes of its two hours when it began, and is so again
    await fleet.watch_often(mended + HOUR, mended + 84 * MINUTE, every=4 * MINUTE)
    assert await lives(copies[:1]) == {"new"}
    assert (await fleet.life(copies[1]))[0] == "late"


async def test_those_that_were_late_before_the_outage_was_found_are_taken_back(fleet, start, lives):
    await change_schedule(fleet.connection, "billing", grace_seconds=60)
    copies = [copy for n in range(6) for copy in await fleet.copies(1, start + n * 10 * MINUTE)]
    await fleet.watch_often(start + 50 * MINUTE, start + 100 * MINUTE, every=MINUTE)
    assert await lives(copies[:4]) == {"late"}
    await fleet.watch_often(start + 101 * MINUTE, start + 106 * MINUTE, every=MINUTE)
    assert await lives(copies) == {"active", "new"}
    steps = await fleet.timeline(copies[0])
    assert [row[2:] for row in steps] == [("new", "late"), ("late", "active")]
    assert [row[0] for row in steps] == [start + 61 * MINUTE, start + 105 * MINUTE]


async def test_a_few_that_go_silent_are_late_and_a_quiet_time_is_no_outage(fleet, start, lives):
    """Four copies that stop are four copies that stop; and where nobody is due, nobody is missed."""
    steady, stopped = await fleet.copies(6, start), await fleet.copies(4, start + 2 * MINUTE)
    at = start
    for _ in range(4):
        await fleet.watch_often(at, at + 59 * MINUTE, every=4 * MINUTE)
        at += HOUR
        for copy in steady:
            await fleet.ping(copy, at)
    await fleet.watch(at)
    assert await fleet.outages() == []
    assert {await fleet.life(copy) for copy in stopped} == {("late", start + 2 * HOUR + 2 * MINUTE)}
    assert await lives(steady) == {"new"}


async def test_when_nobody_calls_any_more_they_are_late_in_the_end(fleet, start, lives):
    copies = await fleet.copies(8, start)
    await fleet.watch_often(start, start + 8 * HOUR, every=4 * MINUTE)
    assert await lives(copies) == {"active"}
    await fleet.watch_often(start + 8 * HOUR, start + 10 * HOUR, every=4 * MINUTE)
    assert await lives(copies) == {"late"}


async def test_a_simulated_fleet_says_nothing_about_an_outage(fleet, start, lives):
    await fleet.execute("UPDATE products SET simulated = true")
    copies = await fleet.copies(8, start)
    await fleet.watch_often(start, start + 3 * HOUR, every=4 * MINUTE)
    assert (await fleet.outages(), await lives(copies)) == ([], {"late"})


async def test_an_upload_of_many_pings_is_one_copy_that_is_awaited(fleet, start, lives):
    one = uuid4()
    for _ in range(10):
        await fleet.ping(one, start)
    await fleet.watch_often(start, start + 3 * HOUR, every=4 * MINUTE)
    assert (await fleet.outages(), await lives([one])) == ([], {"late"})
