"""Lives follow from pings, schedule and outages alone, whoever looks and however often."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from telemetry_server.enrich.lifecycle import NEVER, Schedule, apart, lives, next_life
from telemetry_server.model import Lifecycle, Product

START = datetime(2026, 11, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DAILY = Schedule(late_after=2 * DAY, lost_after=30 * DAY, new_for=7 * DAY)


def at(days):
    return START + timedelta(days=days)


def found(life, since, last, now, schedule=DAILY):
    return next_life(life, at(since), at(0), at(last), schedule=schedule, now=at(now))


# ── by example ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("life", "since", "last", "now", "expected"),
    [
        (Lifecycle.NEW, 0, 0, 1, (Lifecycle.NEW, 0, 2)),
        (Lifecycle.NEW, 0, 6, 6, (Lifecycle.NEW, 0, 7)),
        (Lifecycle.NEW, 0, 7, 7, (Lifecycle.ACTIVE, 7, 9)),
        (Lifecycle.NEW, 0, 0, 3, (Lifecycle.LATE, 2, 30)),
        (Lifecycle.ACTIVE, 7, 20, 21, (Lifecycle.ACTIVE, 7, 22)),
        (Lifecycle.ACTIVE, 7, 20, 22, (Lifecycle.LATE, 22, 50)),
        (Lifecycle.LATE, 22, 20, 49, (Lifecycle.LATE, 22, 50)),
        (Lifecycle.LATE, 22, 20, 50, (Lifecycle.LOST, 50, None)),
        (Lifecycle.ACTIVE, 7, 20, 90, (Lifecycle.LOST, 50, None)),
        (Lifecycle.LOST, 50, 20, 9000, (Lifecycle.LOST, 50, None)),
        (Lifecycle.RETURNED, 60, 60, 61, (Lifecycle.RETURNED, 60, 62)),
        (Lifecycle.RETURNED, 60, 66, 67, (Lifecycle.ACTIVE, 67, 68)),
        (Lifecycle.RETURNED, 60, 60, 63, (Lifecycle.LATE, 62, 90)),
    ],
)
def test_a_life_by_its_schedule(life, since, last, now, expected):
    life_now, since_now, due = expected
    due_at = NEVER if due is None else at(due)
    assert found(life, since, last, now) == (life_now, at(since_now), due_at)


def test_every_step_on_the_way_has_its_own_time_however_late_somebody_looks():
    steps = lives(Lifecycle.NEW, at(0), at(0), at(6), schedule=DAILY, now=at(100))
    assert steps == [(Lifecycle.ACTIVE, at(7)), (Lifecycle.LATE, at(8)), (Lifecycle.LOST, at(36))]


def test_a_copy_that_is_lost_as_soon_as_it_is_late_is_lost():
    schedule = Schedule(late_after=2 * DAY, lost_after=DAY, new_for=timedelta(0))
    assert found(Lifecycle.ACTIVE, 1, 1, 3, schedule) == (Lifecycle.LOST, at(3), NEVER)


def test_the_end_of_being_new_gives_way_to_being_late():
    schedule = Schedule(late_after=7 * DAY, lost_after=30 * DAY, new_for=7 * DAY)
    assert lives(Lifecycle.NEW, at(0), at(0), at(0), schedule=schedule, now=at(8)) == [
        (Lifecycle.LATE, at(7))
    ]


def test_a_ping_that_crossed_with_the_look_takes_back_that_the_copy_is_late_or_lost():
    assert found(Lifecycle.LATE, 22, 22.01, 22.02)[:2] == (Lifecycle.ACTIVE, at(22.01))
    assert found(Lifecycle.LOST, 50, 50.01, 50.02)[:2] == (Lifecycle.RETURNED, at(50.01))


def test_a_longer_schedule_takes_back_what_the_shorter_one_found_and_says_when():
    longer = Schedule(late_after=10 * DAY, lost_after=60 * DAY, new_for=7 * DAY)
    assert found(Lifecycle.LATE, 22, 20, 25, longer) == (Lifecycle.ACTIVE, at(25), at(30))
    assert found(Lifecycle.LOST, 50, 20, 55, longer) == (Lifecycle.LATE, at(55), at(80))
    assert found(Lifecycle.LOST, 50, 46, 55, longer) == (Lifecycle.ACTIVE, at(55), at(56))


def test_a_shorter_schedule_counts_from_the_last_ping_but_never_before_the_step_before():
    shorter = Schedule(late_after=HOUR, lost_after=10 * DAY, new_for=timedelta(0))
    assert found(Lifecycle.ACTIVE, 7, 20, 21, shorter)[:2] == (Lifecycle.LATE, at(20) + HOUR)
    life, since, _ = found(Lifecycle.ACTIVE, 21, 20, 21.5, shorter)
    assert (life, since - at(21)) == (Lifecycle.LATE, timedelta(microseconds=1))


# ── outages ─────────────────────────────────────────────────────────────────────────────────


def during(*outages):
    return Schedule(DAILY.late_after, DAILY.lost_after, DAILY.new_for, [(at(a), at(b)) for a, b in outages])


@pytest.mark.parametrize(
    ("outages", "late_on"),
    [
        ([], 22),
        ([(10, 19)], 22),  # over before the last ping
        ([(19, 21)], 23),  # only what lies after it counts
        ([(21, 24)], 25),
        ([(21, 21.5), (22, 23)], 23.5),  # the second falls into the time the first one gave
        ([(22, 30)], 22),  # late already when it began
        ([(25, 30)], 22),
    ],
)
def test_an_outage_is_no_silence(outages, late_on):
    assert during(*outages).late_at(at(20)) == at(late_on)
    assert found(Lifecycle.ACTIVE, 7, 20, late_on - 0.01, during(*outages)).life is Lifecycle.ACTIVE
    assert found(Lifecycle.ACTIVE, 7, 20, late_on, during(*outages))[:2] == (Lifecycle.LATE, at(late_on))


def test_an_outage_found_out_later_takes_back_that_a_copy_is_late():
    assert found(Lifecycle.LATE, 22, 20, 23, during((21, 23))) == (Lifecycle.ACTIVE, at(23), at(24))


def test_outages_that_touch_are_one():
    together = apart([(at(5), at(6)), (at(1), at(3)), (at(2), at(2.5)), (at(3), at(4))])
    assert together == ((at(1), at(4)), (at(5), at(6)))


# ── whatever comes ──────────────────────────────────────────────────────────────────────────

minutes = st.integers(0, 60 * 24 * 400)
moments = minutes.map(lambda n: START + timedelta(minutes=n))
spans = st.integers(0, 60 * 24 * 60).map(lambda n: timedelta(minutes=n))
outage_lists = st.lists(st.tuples(moments, spans), max_size=4).map(
    lambda found: apart((began, began + span) for began, span in found if span)
)
schedules = st.builds(Schedule, spans, spans, spans, outage_lists)
any_moment = st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))
any_schedule = st.builds(
    Schedule,
    *[st.timedeltas(timedelta(0), timedelta(days=3660))] * 3,
    st.lists(st.tuples(any_moment, any_moment), max_size=4).map(
        lambda found: apart(pair for pair in found if pair[0] < pair[1])
    ),
)


def situations(moment, schedule):
    return st.fixed_dictionaries(
        {"life": st.sampled_from(Lifecycle), "since": moment, "first": moment, "last": moment}
        | {"schedule": schedule, "now": moment}
    )


@given(situations(any_moment, any_schedule))
def test_it_is_total_looks_again_in_the_future_and_finds_the_same_twice(situation):
    one = next_life(**situation)
    assert one.due_at > situation["now"]
    assert next_life(**situation | {"life": one.life, "since": one.since}) == one
    since = [situation["since"], *(step.since for step in lives(**situation))]
    assert all(earlier < later <= situation["now"] for earlier, later in pairwise(since))


@given(first=moments, last=moments, schedule=schedules, looks=st.lists(moments, min_size=1, max_size=6))
def test_it_does_not_matter_who_looks_when(first, last, schedule, looks):
    """Lives of a copy that is heard of no more, by one look at the end and by many on the way."""
    assume(first <= last)
    looks = sorted(max(look, last) for look in looks)
    life, since, steps = Lifecycle.NEW, first, []
    for now in looks:
        steps += lives(life, since, first, last, schedule=schedule, now=now)
        life, since, _ = next_life(life, since, first, last, schedule=schedule, now=now)
    assert steps == lives(Lifecycle.NEW, first, first, last, schedule=schedule, now=looks[-1])


@given(situations(moments, schedules))
def test_nothing_changes_before_it_is_due(situation):
    """So nobody has to look before: a deadline in an index is enough."""
    one = next_life(**situation)
    assume(one.due_at < NEVER)
    settled = situation | {"life": one.life, "since": one.since}
    just_before = max(situation["now"], one.due_at - timedelta(microseconds=1))
    assert next_life(**settled | {"now": just_before})[:2] == one[:2]
    then = next_life(**settled | {"now": one.due_at})
    assert then.life is not one.life or then.due_at > one.due_at


@given(last=moments, schedule=schedules, more=outage_lists)
def test_outages_only_ever_put_off(last, schedule, more):
    longer = Schedule(
        schedule.late_after, schedule.lost_after, schedule.new_for, apart([*schedule.outages, *more])
    )
    assert last + schedule.late_after <= schedule.late_at(last) <= longer.late_at(last)
    assert schedule.late_at(last) <= schedule.lost_at(last) <= longer.lost_at(last)


def test_the_schedule_of_a_product_is_in_seconds_as_its_row_says():
    product = Product(
        None,
        "example",
        "Example",
        3600,
        START,
        grace_seconds=1800,
        lost_after_seconds=86_400,
        new_for_seconds=60,
    )
    assert Schedule.of(product) == Schedule(1.5 * HOUR, DAY, timedelta(minutes=1))
