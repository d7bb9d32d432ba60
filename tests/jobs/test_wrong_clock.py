"""A clock that is wrong: what forgets waits or goes on step by step, and what lies in the future is taken back."""

import json
import re
from contextlib import nullcontext
from datetime import UTC, datetime
from uuid import UUID

import pytest
from places import ROOT
from plain_count import Told
from story import DAY, HOUR, MINUTE, NOON

from telemetry_server.app import job_table
from telemetry_server.check.fields import load_registry
from telemetry_server.errors import Unavailable
from telemetry_server.job_names import JobName
from telemetry_server.jobs.clock import forgetting, take_back_future_times
from telemetry_server.jobs.kept_days import most_behind
from telemetry_server.jobs.outages import SERVING
from telemetry_server.settings import Settings
from telemetry_server.store.clock import ClockDoubt, keep_as_of
from telemetry_server.store.clock_watch import ClockWatch
from telemetry_server.store.watermarks import reach, reached


@pytest.fixture
def now():
    """What the database's clock says, too."""
    return datetime.now(UTC)


@pytest.fixture
def forget(fleet):
    """Runs a job that forgets; gives by which time it worked."""
    as_of = []

    async def run(_, moment):
        as_of.append(moment)
        return "forgot"

    async def forget(moment, keeps=30 * DAY):
        done = await forgetting("forget", run, keeps)(fleet.connection, moment)
        assert done.startswith("forgot")
        return as_of[-1]

    return forget


# ── forgetting ──────────────────────────────────────────────────────────────────────────────


async def test_in_a_new_database_there_is_nothing_to_doubt_the_clock_by(forget, now):
    assert await forget(now) == now


async def test_nothing_is_forgotten_while_the_clock_is_days_beyond_all_that_is_known(fleet, forget, now):
    copies = await fleet.copies(3, now - 10 * DAY)
    with pytest.raises(ClockDoubt, match=r"Nothing is forgotten: the clock jumped.* 10 days after"):
        await forget(now)
    await fleet.ping(copies[0], now)
    with pytest.raises(ClockDoubt):  # one copy alone may have the same wrong clock
        await forget(now)
    await fleet.ping(copies[1], now)
    assert await forget(now) == now


async def test_copies_that_a_clock_ahead_received_do_not_confirm_it(fleet, forget, now):
    copies = await fleet.copies(3, now - 10 * DAY)
    for copy in copies:
        await fleet.ping(copy, now)
    await fleet.execute("UPDATE pings SET occurred_at = received_at - interval '10 days'")
    with pytest.raises(ClockDoubt, match="jumped"):
        await forget(now)


async def test_simulated_copies_tell_nothing_of_the_time(fleet, forget, now):
    await fleet.copies(3, now - 10 * DAY)
    await fleet.execute("UPDATE products SET simulated = true")
    assert await forget(now) == now


async def test_a_server_that_forgets_every_day_goes_on_without_pings(fleet, forget, now):
    await fleet.copies(3, now - 10 * DAY)
    await keep_as_of(fleet.connection, "forget sessions", now - DAY)
    assert await forget(now) == now


async def test_a_run_goes_a_week_beyond_the_one_before_and_the_next_one_on_from_there(fleet, forget, now):
    await fleet.copies(3, now)
    await keep_as_of(fleet.connection, "forget", now - 20 * DAY)
    assert [await forget(now) for _ in range(4)] == [now - 13 * DAY, now - 6 * DAY, now, now]


async def test_a_clock_that_is_not_in_doubt_yet_forgets_nothing_of_the_last_half_of_the_retention(
    fleet, forget, now
):
    await fleet.copies(3, now - 47 * HOUR)
    for _ in range(3):  # earlier runs by the same clock are no evidence
        assert await forget(now, keeps=DAY) == now - 35 * HOUR
    assert await forget(now, keeps=4 * DAY) == now


async def test_copies_with_wrong_clocks_delay_what_is_forgotten_by_a_day_and_a_half_at_most(
    fleet, forget, now
):
    await fleet.copies(3, now)
    await fleet.execute("UPDATE pings SET occurred_at = received_at - interval '30 days'")
    await keep_as_of(fleet.connection, "forget sessions", now)
    assert await forget(now, keeps=DAY) == now - 36 * HOUR
    assert await forget(now) == now


async def test_each_job_that_keeps_for_days_forgets_by_what_is_kept_the_shortest(fleet, now):
    settings = Settings(retention_days=(("ping", 1), ("fact", 1)), address_retention_days=1)
    await fleet.copies(3, now - 47 * HOUR)
    for job in job_table(settings):
        if job.name in {JobName.FORGET_OLD_PINGS, JobName.SHORTEN_ADDRESSES, JobName.FORGET_SESSIONS}:
            assert f"as of {now - 35 * HOUR:%Y-%m-%d %H:%M} UTC" in await job.run(fleet.connection, now)


async def test_a_run_by_a_time_in_the_future_counts_as_never(fleet, forget, now):
    await fleet.copies(3, now)
    await keep_as_of(fleet.connection, "forget", now + 500 * DAY)
    assert await forget(now) == now


async def test_a_run_that_failed_moves_nothing_on(fleet, now):
    async def fails(*_):
        raise OSError("no luck")

    await fleet.copies(3, now)
    await keep_as_of(fleet.connection, "forget", now - 20 * DAY)
    with pytest.raises(OSError, match="no luck"):
        await forgetting("forget", fails)(fleet.connection, now)
    assert await fleet.connection.fetchval("SELECT as_of FROM jobs") == now - 20 * DAY


@pytest.mark.parametrize("off", [-HOUR, HOUR])
async def test_nothing_is_forgotten_while_this_machine_and_the_database_differ(forget, now, off):
    with pytest.raises(ClockDoubt, match=r"this machine's clock says .* and the database's"):
        await forget(now + off)
    assert await forget(now + MINUTE) == now + MINUTE


async def test_nothing_is_forgotten_while_the_clock_is_behind_what_copies_reported(fleet, forget, now):
    await fleet.copies(3, now + 8 * HOUR)
    with pytest.raises(ClockDoubt, match="it is behind: set it right"):
        await forget(now)
    # what a clock that was ahead received says nothing of the kind
    await fleet.execute("UPDATE pings SET occurred_at = received_at - interval '8 hours'")
    assert await forget(now) == now


# ── taking back ─────────────────────────────────────────────────────────────────────────────


async def test_lives_and_outages_of_a_clock_that_was_ahead_are_taken_back(fleet, now):
    copies = await fleet.copies(4, now - HOUR)
    await fleet.watch(now)
    await fleet.watch(now + 500 * DAY)
    [(_, ended_at)] = await fleet.outages()
    assert ended_at > now + 500 * DAY
    done = await take_back_future_times(fleet.connection, now + MINUTE)
    assert "outages: 1" in done
    assert "lives: 4" in done
    await fleet.watch(now + 2 * MINUTE)
    assert await fleet.outages() == [(now, now + MINUTE)]
    for copy in copies:
        assert await fleet.life(copy) == ("new", now - HOUR)
        assert await fleet.timeline(copy) == []
    late_at = now - HOUR + 2 * DAY + MINUTE
    await reach(fleet.connection, SERVING, late_at)
    await fleet.watch(late_at)
    assert {(await fleet.life(copy))[0] for copy in copies} == {"late"}


async def test_who_was_lost_by_a_clock_ahead_is_as_before_and_keeps_its_timeline(fleet, now):
    [gone], [here] = await fleet.copies(1, now - 5 * DAY), await fleet.copies(1, now - HOUR)
    await fleet.watch(now)
    before = {copy: (await fleet.life(copy), await fleet.timeline(copy)) for copy in (gone, here)}
    assert before[gone][0] == ("late", now - 3 * DAY)
    await reach(fleet.connection, SERVING, now + 40 * DAY)  # no absence was noticed
    await fleet.watch(now + 40 * DAY)
    assert {(await fleet.life(copy))[0] for copy in (gone, here)} == {"lost"}
    await take_back_future_times(fleet.connection, now)
    await fleet.watch(now)
    assert {copy: (await fleet.life(copy), await fleet.timeline(copy)) for copy in (gone, here)} == before


async def test_when_a_copy_was_last_heard_of_by_a_clock_ahead_is_told_by_its_own(fleet, now):
    [copy], _ = await fleet.copies(1, now - DAY), await fleet.copies(2, now - HOUR)
    await fleet.ping(copy, now + 500 * DAY)
    await fleet.execute("UPDATE pings SET occurred_at = $1 WHERE received_at > $2", now - HOUR, now)
    await fleet.execute(
        "UPDATE installations SET last_occurred_at = $1 WHERE last_received_at > $2", now - HOUR, now
    )
    assert "installations: 1" in await take_back_future_times(fleet.connection, now)
    heard = "SELECT last_received_at FROM installations WHERE installation_id = $1"
    assert await fleet.connection.fetchval(heard, copy) == now - HOUR
    assert await take_back_future_times(fleet.connection, now) == "nothing lies in the future"


async def test_watermarks_in_the_future_are_taken_back_and_others_stay(fleet, now):
    for name, at in ((SERVING, now + 8 * HOUR), ("count the fleet", now + 500 * DAY), ("other", now - DAY)):
        await reach(fleet.connection, name, at)
    done = await take_back_future_times(fleet.connection, now)
    assert "took back watermarks: 2; the clock had been ahead until" in done
    marks = [await reached(fleet.connection, name) for name in (SERVING, "count the fleet", "other")]
    assert marks == [now, now, now - DAY]


async def test_a_clock_that_is_behind_takes_nothing_back_and_starts_shortening_again(fleet, now):
    await fleet.copies(3, now)
    await fleet.execute(
        "UPDATE pings SET received_at = received_at + interval '8 hours', occurred_at = occurred_at + interval '8 hours'"
    )
    for name, at in ((SERVING, now + 8 * HOUR), (JobName.SHORTEN_ADDRESSES, now + HOUR)):
        await reach(fleet.connection, name, at)
    assert "it is behind" in await take_back_future_times(fleet.connection, now)
    assert await reached(fleet.connection, SERVING) == now + 8 * HOUR
    assert await reached(fleet.connection, JobName.SHORTEN_ADDRESSES) == now


async def test_a_server_behind_notes_no_outage_once_it_is_right_again(fleet, now):
    await fleet.copies(3, now - 100 * DAY)
    await fleet.watch(now)
    await fleet.watch(now - 40 * DAY)
    await fleet.watch(now + MINUTE)
    assert await fleet.outages() == []


# ── taking pings ────────────────────────────────────────────────────────────────────────────


class Clock:
    """A clock that is off by as much as `off` says, and the watch of it."""

    def __init__(self, fleet, bound, off=0 * DAY):
        self.off = off
        self.watch = ClockWatch(lambda: nullcontext(fleet.connection), bound, self.now)

    def now(self):
        return datetime.now(UTC) + self.off

    async def takes(self, off):
        self.off = off
        try:
            await self.watch.demand(self.now())
        except Unavailable as refusal:
            assert "far behind" in refusal.detail
            return False
        return True


@pytest.fixture
def clock(fleet):
    return Clock(fleet, most_behind(load_registry()))


async def test_a_clock_that_is_behind_by_half_of_the_retention_takes_no_pings_from_that_moment_on(
    fleet, clock, now
):
    await fleet.copies(3, now)
    offsets = [
        0 * DAY,
        -500 * DAY,
        0 * DAY,
        -201 * DAY,
        -199 * DAY,
        -40 * DAY,
        -8 * HOUR,
        -500 * DAY,
        500 * DAY,
    ]
    taken = [await clock.takes(off) for off in offsets]
    assert taken == [off > -200 * DAY for off in offsets]


async def test_a_clock_that_is_behind_from_the_start_takes_no_pings(fleet, clock, now):
    await fleet.copies(3, now)
    assert not await clock.takes(-500 * DAY)


@pytest.mark.parametrize(
    ("kept", "taken"),
    [
        ((("ping", 1), ("fact", 1)), [True, False, False]),
        ((("usage", 60),), [True, True, False]),
        ((("ping", None), ("fact", None), ("usage", None)), [True, True, True]),
    ],
)
async def test_how_far_it_may_be_behind_is_half_of_the_shortest_retention(fleet, now, kept, taken):
    await fleet.copies(3, now)
    clock = Clock(fleet, most_behind(load_registry().keeping(kept)))
    assert [await clock.takes(off) for off in (-8 * HOUR, -29 * DAY, -500 * DAY)] == taken


async def test_a_clock_that_was_ahead_and_is_put_right_takes_pings(fleet, clock, now):
    copies = await fleet.copies(3, now)
    assert await clock.takes(500 * DAY)
    for copy in copies:
        await fleet.ping(copy, now + 500 * DAY)
    await fleet.execute("UPDATE pings SET occurred_at = $1 WHERE received_at > $2", now, now + DAY)
    await clock.watch.look()
    assert await clock.takes(0 * DAY)
    assert not await clock.takes(-500 * DAY)


async def test_in_a_new_database_its_clock_says_whether_this_one_is_behind(fleet, clock, now):
    assert [await clock.takes(off) for off in (0 * DAY, -500 * DAY, 500 * DAY)] == [True, False, True]
    await fleet.copies(3, now - 500 * DAY)  # then it is the database's that is wrong
    await clock.watch.look()
    assert await clock.takes(-500 * DAY)
    assert not await clock.takes(-510 * DAY)


async def test_copies_that_were_wrong_together_with_the_server_are_put_right_as_the_docs_say(
    fleet, clock, now
):
    await fleet.copies(3, now + 500 * DAY)
    assert not await clock.takes(0 * DAY)
    [correction] = re.findall(
        r'telemetry-server db psql -- -c "(UPDATE .*)"', (ROOT / "docs/rollups.md").read_text()
    )
    await fleet.execute(correction)
    await clock.watch.look()
    assert await clock.takes(0 * DAY)


async def test_while_the_database_is_away_nothing_received_by_a_clock_that_was_set_is_taken(fleet, now):
    def acquire():
        if away:
            raise OSError("PostgreSQL is away")
        return nullcontext(fleet.connection)

    away, watch = False, ClockWatch(acquire, 200 * DAY)
    await watch.demand(now)
    away = True
    await watch.demand(now)
    with pytest.raises(Unavailable, match="away"):
        await watch.demand(now - HOUR)


async def test_a_time_from_before_the_clock_was_set_is_not_taken_for_one_of_now(fleet, clock, now):
    await fleet.copies(3, now)
    with pytest.raises(Unavailable, match="was just set"):
        await clock.watch.demand(clock.now() - 500 * DAY)


async def test_a_clock_that_is_too_far_behind_is_logged_once_and_once_that_it_is_right(
    fleet, clock, now, capsys
):
    await fleet.copies(3, now)
    for off in (0 * DAY, -500 * DAY, 0 * DAY):
        for _ in range(3):
            await clock.takes(off)
            await clock.watch.look()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == [
        "uploads refused: the clock is too far behind",
        "uploads taken again: the clock is right",
    ]
    assert "differ" not in lines[0]["error"]


# ── counting ────────────────────────────────────────────────────────────────────────────────


async def test_a_ping_received_by_a_clock_ahead_is_counted_and_stays_so(story):
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await story.roll_up(NOON + MINUTE)
    await story.send(UUID(int=1), NOON + 8 * HOUR, Told(2, NOON + MINUTE))
    await story.send(UUID(int=2), NOON + 8 * HOUR, Told(1, NOON + MINUTE))
    await story.roll_up(NOON + 8 * HOUR + MINUTE)
    await story.send(UUID(int=1), NOON + 2 * MINUTE, Told(3, NOON + 2 * MINUTE))
    await story.roll_up(NOON + 3 * MINUTE)
    await story.agrees()


async def test_a_ping_that_only_another_server_received_ahead_is_counted_in_a_quarter_of_an_hour(story):
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await story.roll_up(NOON + MINUTE)
    await story.send(UUID(int=2), NOON + 8 * HOUR, Told(1, NOON + MINUTE))
    await story.roll_up(NOON + 16 * MINUTE)
    await story.agrees()
    assert await reached(story.connection, "roll up pings") == NOON + 16 * MINUTE


async def test_by_a_clock_far_ahead_no_day_is_called_over(story):
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await story.roll_up(NOON + 500 * DAY)
    await story.agrees()
