"""Seats over time, against a plain look at each copy at each moment."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.enrich.seats import (
    ENVIRONMENT,
    KEY,
    LIFE,
    CopyOnKey,
    SeatChange,
    Turn,
    over_since,
    seats_at,
    steps_of,
    takes_seat_of,
    used_by_day,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = st.integers(1, 200).map(lambda hours: START + timedelta(hours=hours))
VALUES = {
    KEY: st.sampled_from(["aa", "bb", None]),
    ENVIRONMENT: st.sampled_from(["production", "Staging", None]),
    LIFE: st.sampled_from(["new", "active", "late", "lost", "returned"]),
}
TAKES = takes_seat_of(frozenset({"aa"}), ("staging",))


@st.composite
def copies(draw):
    """A copy by its values at each moment, and as the timeline tells them."""
    moments = sorted(draw(st.sets(HOURS, min_size=1, max_size=6)))
    values = {name: draw(strategy) for name, strategy in VALUES.items()}
    states, turns = [(moments[0], dict(values))], []
    for moment in moments[1:]:
        field = draw(st.sampled_from(list(VALUES)))
        after = draw(VALUES[field])
        turns.append(Turn(moment, field, values[field], after))
        values[field] = after
        states.append((moment, dict(values)))
    return states, CopyOnKey(moments[0], dict(values), turns)


def taken(states, moment):
    known = [values for since, values in states if since <= moment]
    return bool(known) and TAKES(known[-1])


@given(st.lists(copies(), max_size=4))
def test_seats_of_days_are_a_look_at_each_copy_at_their_ends(drawn):
    steps = [step for _, copy in drawn for step in steps_of(copy, TAKES)]
    found = used_by_day(steps, date(2026, 3, 1), date(2026, 3, 10))
    for day, used in found.items():
        end = datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)
        assert used == sum(taken(states, end) for states, _ in drawn)


@given(st.lists(copies(), max_size=4), st.none() | st.integers(0, 2), st.none() | st.integers(0, 2), HOURS)
def test_a_license_is_over_since_the_last_moment_at_which_it_was_not(drawn, before, after, changed_at):
    steps = [step for _, copy in drawn for step in steps_of(copy, TAKES)]
    changes = [SeatChange(changed_at, before, after)]
    since, is_over = None, False
    for moment in sorted({START, changed_at, *(moment for moment, _ in steps)}):
        granted = after if moment >= changed_at else before
        used = sum(taken(states, moment) for states, _ in drawn)
        was_over, is_over = is_over, granted is not None and used > granted
        since = (since if was_over else moment) if is_over else None
    assert over_since(steps, after, changes) == since


def test_the_number_of_seats_before_a_change_is_that_of_the_first_change_after():
    first, second = START + timedelta(days=1), START + timedelta(days=2)
    changes = [SeatChange(first, 2, 5), SeatChange(second, 5, None)]
    assert [seats_at(at, None, changes) for at in (START, first, second)] == [2, 5, None]


def test_an_environment_is_free_in_any_case_and_one_that_is_not_known_is_none():
    values = {KEY: "aa", ENVIRONMENT: "STAGING", LIFE: "active"}
    assert not TAKES(values)
    assert TAKES(values | {ENVIRONMENT: None})
    assert not TAKES(values | {ENVIRONMENT: None, KEY: None})
