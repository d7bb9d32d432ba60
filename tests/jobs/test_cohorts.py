"""Cohorts: who of those that came in a week is heard of, is lost and comes back, week by week."""

import random
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import pytest
from plain_count import STATES, Told
from story import DAY, HOUR, NOON, REGISTRY

from telemetry_server.jobs.cohorts import roll_up_cohorts

WEEK = timedelta(days=7)
MONDAY = date(2026, 3, 9)


def monday(day):
    return day - timedelta(days=day.weekday())


async def cohorts(story, now):
    await story.roll_up(now)
    await roll_up_cohorts(REGISTRY)(story.connection, now)
    return await counted(story)


async def counted(story):
    rows = await story.connection.fetch("SELECT cohort, week, active, lost, returned FROM cohort_weeks")
    return {tuple(row)[:2]: tuple(row)[2:] for row in rows}


async def lives(story, copy, moment, after):
    await story.connection.execute(
        "INSERT INTO changes VALUES ($1, $2, 1, 'life', 'active', $3)", UUID(int=copy), moment, after
    )


async def test_a_cohort_shrinks_is_lost_and_comes_back(story):
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await story.send(UUID(int=2), NOON + DAY, Told(1, NOON + DAY))
    await story.send(UUID(int=3), NOON + WEEK, Told(1, NOON + WEEK))
    for number in (2, 3, 4):
        await story.send(UUID(int=1), NOON + number * WEEK, Told(number, NOON + number * WEEK))
    await lives(story, 2, NOON + 3 * WEEK, "lost")
    await lives(story, 2, NOON + 4 * WEEK, "returned")
    await lives(story, 2, NOON + 4 * WEEK + HOUR, "lost")
    await lives(story, 2, NOON + 4 * WEEK + 2 * HOUR, "late")
    assert await cohorts(story, NOON + 4 * WEEK + 3 * HOUR) == {
        (MONDAY, MONDAY): (2, 0, 0),
        (MONDAY, MONDAY + 2 * WEEK): (1, 0, 0),
        (MONDAY, MONDAY + 3 * WEEK): (1, 1, 0),
        (MONDAY, MONDAY + 4 * WEEK): (1, 1, 1),
        (MONDAY + WEEK, MONDAY + WEEK): (1, 0, 0),
    }


async def test_the_first_ping_is_of_its_cohorts_week_even_if_it_tells_of_an_earlier_one(story):
    at = datetime.combine(MONDAY, time(0, 5), UTC)
    await story.send(UUID(int=1), at, Told(1, at - HOUR), Told(2, at - 20 * DAY))
    assert await cohorts(story, at + HOUR) == {(MONDAY, MONDAY): (1, 0, 0)}


async def test_late_pings_and_lives_repair_their_week_and_the_rest_stays(story):
    for copy in (1, 2):
        await story.send(UUID(int=copy), NOON, Told(1, NOON))
    now = NOON + 9 * WEEK
    before = await cohorts(story, now)
    await story.send(UUID(int=1), now, Told(2, NOON + 3 * WEEK))
    await lives(story, 2, NOON + 5 * WEEK, "lost")
    stamps = await story.connection.fetch("SELECT ctid FROM cohort_weeks")
    after = await cohorts(story, now + HOUR)
    assert after == before | {
        (MONDAY, MONDAY + 3 * WEEK): (1, 0, 0),
        (MONDAY, MONDAY + 5 * WEEK): (0, 1, 0),
    }
    assert set(stamps) <= set(await story.connection.fetch("SELECT ctid FROM cohort_weeks"))
    assert await story.connection.fetch("TABLE weeks_due") == []


async def test_lives_that_are_told_no_more_are_counted_no_more(story):
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await lives(story, 1, NOON + WEEK, "lost")
    assert (MONDAY, MONDAY + WEEK) in await cohorts(story, NOON + 5 * WEEK)
    await story.connection.execute("DELETE FROM changes")
    assert await cohorts(story, NOON + 5 * WEEK) == {(MONDAY, MONDAY): (1, 0, 0)}


async def test_weeks_whose_pings_are_over_stay_as_they_were(story):
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    before = await cohorts(story, NOON + HOUR)
    await story.connection.execute("DELETE FROM installation_days")
    await story.connection.execute("INSERT INTO weeks_due VALUES ($1)", MONDAY)
    await lives(story, 1, NOON + DAY, "lost")
    await roll_up_cohorts(REGISTRY)(story.connection, NOON + 500 * DAY)
    assert await counted(story) == before
    assert await story.connection.fetch("TABLE weeks_due") == []


@pytest.mark.parametrize("year_end", [date(2026, 12, 31), date(2028, 2, 29)])
async def test_weeks_begin_on_monday_over_the_end_of_a_year_and_a_leap_day(story, year_end):
    await story.connection.execute("SET timezone = 'Pacific/Kiritimati'")
    begin = datetime.combine(monday(year_end), time(), UTC)
    moments = [
        begin - timedelta(microseconds=1),
        begin,
        begin + WEEK - timedelta(microseconds=1),
        begin + WEEK,
    ]
    for copy, moment in enumerate(moments, 1):
        await story.send(UUID(int=copy), moment, Told(1, moment))
    week = begin.date()
    assert await cohorts(story, begin + WEEK + HOUR) == {
        (week - WEEK, week - WEEK): (1, 0, 0),
        (week, week): (2, 0, 0),
        (week + WEEK, week + WEEK): (1, 0, 0),
    }


@pytest.mark.parametrize("seed", range(3))
async def test_cohorts_are_what_plain_counting_gives(story, seed):
    dice = random.Random(seed)
    expected, sequences = Counter(), Counter()
    sendings = sorted((NOON + dice.uniform(0, 60) * DAY, dice.randrange(1, 8)) for _ in range(60))
    first, seen = {}, set()
    for moment, copy in sendings:
        sequences[copy] += 1
        told = Told(sequences[copy], moment - dice.choice([0, 0, 1, 9]) * DAY, dice.choice(STATES))
        await story.send(UUID(int=copy), moment, told)
        cohort = first.setdefault(copy, monday(moment.date()))
        seen |= {(copy, cohort), (copy, max(cohort, monday(told.occurred_at.date())))}
    expected.update((first[copy], week) for copy, week in seen)
    rows = await cohorts(story, NOON + 60 * DAY)
    assert {key: row[0] for key, row in rows.items()} == dict(expected)
