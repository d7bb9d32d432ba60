"""The job "watch deadlines" on real rows: who is late, lost, back, and who is not to blame."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from telemetry_server.enrich.lifecycle import NEVER
from telemetry_server.jobs import deadlines as job
from telemetry_server.jobs.deadlines import Portions, watch_deadlines
from telemetry_server.store.registry.products import add_product, change_schedule

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def no_outages(monkeypatch):
    """These tests look rarely, which is no outage here; test_outages.py has those."""

    async def none(connection, now):
        return ()

    monkeypatch.setattr(job, "note_outages", none)


# ── by the schedule: daily, a day of grace, lost after 30, new for 7 ─────────────────────────


async def test_a_copy_that_stops_is_late_then_lost_at_the_moments_its_schedule_says(fleet, start):
    one = uuid4()
    await fleet.ping(one, start)
    for days, expected in ((1, ("new", 0)), (3, ("late", 2)), (29, ("late", 2)), (31, ("lost", 30))):
        await fleet.watch(start + days * DAY)
        life, since = expected
        assert await fleet.life(one) == (life, start + since * DAY)
    assert await fleet.timeline(one) == [
        (start + 2 * DAY, 1, "new", "late"),
        (start + 30 * DAY, 1, "late", "lost"),
    ]


async def test_a_look_that_comes_much_too_late_writes_the_same_timeline(fleet, start):
    one, other = uuid4(), uuid4()
    await fleet.ping(one, start)
    await fleet.ping(one, start + 6 * DAY)
    await fleet.ping(other, start + 50 * DAY)
    assert await fleet.watch(start + 50 * DAY) == "1 phases changed"
    assert await fleet.timeline(one) == [
        (start + 7 * DAY, 2, "new", "active"),
        (start + 8 * DAY, 2, "active", "late"),
        (start + 36 * DAY, 2, "late", "lost"),
    ]
    assert await fleet.watch(start + 50 * DAY) == "0 phases changed"


async def test_pings_leave_the_deadline_alone_and_whoever_finds_it_over_moves_it(fleet, start):
    one = uuid4()
    for day in range(10):
        await fleet.ping(one, start + day * DAY)
    due = "SELECT due_at FROM installation_facts"
    assert await fleet.connection.fetchval(due) == start + DAY
    await fleet.watch(start + 9 * DAY)
    assert await fleet.connection.fetchval(due) == start + 11 * DAY
    assert await fleet.life(one) == ("active", start + 7 * DAY)


async def test_a_copy_that_comes_back_is_active_or_returned_and_has_its_deadline_again(fleet, start):
    one, other = uuid4(), uuid4()
    await fleet.ping(one, start)
    await fleet.ping(other, start)
    await fleet.watch(start + 3 * DAY)
    await fleet.ping(one, start + 4 * DAY)
    await fleet.watch(start + 33 * DAY)
    await fleet.ping(other, start + 40 * DAY)
    await fleet.ping(other, start + 46 * DAY)
    await fleet.watch(start + 49 * DAY)
    assert [row[2:] for row in await fleet.timeline(one)] == [
        ("new", "late"),
        ("late", "active"),
        ("active", "late"),
        ("late", "lost"),
    ]
    assert await fleet.timeline(other) == [
        (start + 2 * DAY, 1, "new", "late"),
        (start + 30 * DAY, 1, "late", "lost"),
        (start + 40 * DAY, 2, "lost", "returned"),
        (start + 47 * DAY, 3, "returned", "active"),
        (start + 48 * DAY, 3, "active", "late"),
    ]


async def test_seats_are_to_be_counted_again_when_a_copy_stops_reporting(fleet, start):
    """A late copy takes no seat: an old server that was replaced must not make the new one over its seats."""
    one, asked = uuid4(), "SELECT judge_again FROM installation_facts"
    await fleet.ping(one, start)
    await fleet.execute("UPDATE installation_facts SET judge_again = false")
    await fleet.watch(start + HOUR)
    assert not await fleet.connection.fetchval(asked)
    await fleet.watch(start + 3 * DAY)
    assert await fleet.connection.fetchval(asked)
    await fleet.execute("UPDATE installation_facts SET judge_again = false")
    await fleet.watch(start + 31 * DAY)
    assert not await fleet.connection.fetchval(asked)


async def test_what_is_late_or_lost_is_looked_at_once_more_for_a_ping_that_crossed(fleet, start):
    """The writer may have read the life just before the job wrote it, and so not know of it."""
    one = uuid4()
    await fleet.ping(one, start)
    await fleet.watch(start + 3 * DAY)
    await fleet.execute("UPDATE installations SET last_received_at = $1", start + 3 * DAY)
    await fleet.watch(start + 3 * DAY + 2 * MINUTE)
    assert await fleet.life(one) == ("active", start + 3 * DAY)
    await fleet.watch(start + 40 * DAY)
    await fleet.watch(start + 40 * DAY + 2 * MINUTE)
    assert await fleet.connection.fetchval("SELECT due_at FROM installation_facts") == NEVER


async def test_what_changed_since_it_was_read_stays_as_it_is(fleet, start):
    """The job read the copy, another one and the writer changed it, and only then the job writes."""
    one = uuid4()
    await fleet.ping(one, start)
    [copy] = await job.store.due(fleet.connection, start + 3 * DAY, job.BEFORE_ALL, 10)
    await fleet.watch(start + 3 * DAY)
    await fleet.ping(one, start + 3 * DAY)
    assert (await fleet.life(one))[0] == "active"

    schedules = await job._schedules(fleet.connection, ())
    stale = job._found(copy, schedules[fleet.product.id], start + 3 * DAY)
    assert await job.store.settle(fleet.connection, [stale], start + 3 * DAY) == []
    assert (await fleet.life(one))[0] == "active"
    assert len(await fleet.timeline(one)) == 2


async def test_a_copy_that_cannot_be_settled_blocks_nobody_and_is_looked_at_an_hour_later(
    fleet, start, capsys
):
    copies = sorted(await fleet.copies(9, start))
    bad = copies[4]
    await fleet.execute(f"ALTER TABLE changes ADD CONSTRAINT poison CHECK (installation_id <> '{bad}')")
    await fleet.watch(start + 3 * DAY)
    assert [(await fleet.life(copy))[0] for copy in copies] == ["late"] * 4 + ["new"] + ["late"] * 4
    due = "SELECT due_at FROM installation_facts WHERE installation_id = $1"
    assert await fleet.connection.fetchval(due, bad) == start + 3 * DAY + HOUR
    assert str(bad) in capsys.readouterr().err
    await fleet.execute("ALTER TABLE changes DROP CONSTRAINT poison")
    await fleet.watch(start + 3 * DAY + 2 * HOUR)
    assert await fleet.life(bad) == ("late", start + 2 * DAY)


async def test_not_even_one_that_cannot_be_moved_or_has_lost_its_row_blocks_the_others(fleet, start):
    fleet.portions = Portions(copies=2)
    copies = sorted(await fleet.copies(8, start))
    await fleet.execute(
        f"ALTER TABLE installation_facts ADD CHECK (installation_id NOT IN ('{copies[0]}', '{copies[1]}')) NOT VALID"
    )
    await fleet.execute("DELETE FROM installations WHERE installation_id = ANY ($1)", copies[2:4])
    await fleet.watch(start + 3 * DAY)
    assert [(await fleet.life(copy))[0] for copy in copies] == ["new"] * 4 + ["late"] * 4


async def test_a_run_does_the_oldest_first_and_leaves_the_rest_to_the_next(fleet, start):
    fleet.portions = Portions(copies=2, most=2)
    newer = await fleet.copies(3, start + HOUR)
    older = await fleet.copies(3, start)
    assert await fleet.watch(start + 4 * DAY) == "4 phases changed"
    assert [(await fleet.life(copy))[0] for copy in older] == ["late"] * 3
    assert await fleet.watch(start + 4 * DAY) == "2 phases changed"
    assert [(await fleet.life(copy))[0] for copy in newer] == ["late"] * 3


async def test_two_servers_that_watch_at_once_write_one_timeline(fleet, start, database):
    """Under the advisory lock only one does; even without it nothing is told twice."""
    copies = await fleet.copies(200, start)
    others = [await asyncpg.connect(database) for _ in range(3)]
    await asyncio.gather(*(watch_deadlines(other, start + 3 * DAY) for other in others))
    for other in others:
        await other.close()
    assert await fleet.connection.fetchval("SELECT count(*) FROM changes") == len(copies)


# ── when the schedule changes ────────────────────────────────────────────────────────────────


async def test_another_schedule_reaches_every_copy_of_its_product_and_no_other(fleet, start):
    fleet.portions = Portions(copies=3)
    copies = await fleet.copies(10, start)
    other, _ = await add_product(fleet.connection, "Other", now=start)
    stranger = type(fleet)(fleet.connection, fleet.writer, other)
    [untouched] = await stranger.copies(1, start)
    await fleet.watch(start + HOUR)

    await change_schedule(fleet.connection, "billing", interval_seconds=3600, grace_seconds=0)
    assert await fleet.watch(start + HOUR + MINUTE) == "10 phases changed"
    assert {await fleet.life(copy) for copy in copies} == {("late", start + HOUR)}
    assert await stranger.life(untouched) == ("new", start)
    marks = "SELECT count(*) FROM products WHERE reschedule_after IS NOT NULL"
    assert await fleet.connection.fetchval(marks) == 0

    await change_schedule(fleet.connection, "billing", interval_seconds=86_400)
    await fleet.watch(start + 2 * HOUR)
    assert {await fleet.life(copy) for copy in copies} == {("active", start + 2 * HOUR)}
    due = "SELECT DISTINCT due_at FROM installation_facts WHERE product_id = $1"
    assert await fleet.connection.fetchval(due, fleet.product.id) == start + DAY


async def test_a_change_of_schedule_goes_on_where_it_was_killed(fleet, start):
    fleet.portions = Portions(copies=2, most=2)
    await fleet.copies(7, start)
    await change_schedule(fleet.connection, "billing", interval_seconds=3600, grace_seconds=0)
    await fleet.execute("UPDATE installation_facts SET due_at = $1", NEVER)
    late = "SELECT count(*) FROM installation_facts WHERE life = 'late'"
    assert [
        (await fleet.watch(start + 2 * HOUR), await fleet.connection.fetchval(late)) for _ in range(3)
    ] == [("4 phases changed", 4), ("3 phases changed", 7), ("0 phases changed", 7)]


# ── beside the writer ───────────────────────────────────────────────────────────────────────


async def test_job_and_writer_on_the_same_copies_neither_block_each_other_nor_lose_a_step(
    fleet, start, database
):
    copies = await fleet.copies(100, start)
    watcher = await asyncpg.connect(database)
    await watch_deadlines(watcher, start + 10 * DAY)

    async def call():
        for hour in range(12):
            await asyncio.gather(*(fleet.ping(copy, start + 3 * DAY + hour * HOUR) for copy in copies))

    async def watch():
        for _ in range(60):
            await watch_deadlines(watcher, start + 10 * DAY)
            await asyncio.sleep(0)

    await asyncio.gather(call(), watch())
    await watcher.close()
    await fleet.watch(start + 10 * DAY)
    await asyncio.gather(*(fleet.ping(copy, start + 11 * DAY) for copy in copies))
    assert {(await fleet.life(copy))[0] for copy in copies} == {"active"}
    for copy in copies:
        steps = sorted(await fleet.timeline(copy), key=lambda row: (row[1], row[0]))
        lives = [before for _, _, before, _ in steps], [after for *_, after in steps]
        assert lives[0] == ["new", *lives[1][:-1]], steps
        assert len(steps) > 2


def test_copies_are_ordered_from_the_very_first():
    assert job.BEFORE_ALL.installation_id == UUID(int=0)
