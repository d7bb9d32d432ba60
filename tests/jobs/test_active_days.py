"""The copies at the end of each day are those that a plain recount finds, however late their pings came."""

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_count import NOT_TOLD, PLACES, STATES, State, Told
from story import DAY, HOUR, MINUTE, NOON, REGISTRY

from telemetry_server.check.filters.filter_fields import FEATURES
from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.job_names import JobName
from telemetry_server.jobs import active as job
from telemetry_server.jobs.active import count_active_copies
from telemetry_server.jobs.deadlines import watch_deadlines
from telemetry_server.jobs.outages import SERVING
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.jobs.rebuild import rebuild
from telemetry_server.model import Verdict
from telemetry_server.store.clock import keep_as_of
from telemetry_server.store.counts import active, active_days, feature_use
from telemetry_server.store.counts.counting import Span, TimeStep
from telemetry_server.store.database import make_pool
from telemetry_server.store.filtering import NotThen
from telemetry_server.store.watermarks import reach

LOST_AFTER = 5 * DAY
LATE_AFTER = 2 * DAY
FLAGS = {"hosting": "unknown", "source_mismatch": "false"}


async def begin(story):
    copies = await story.begin_anew()
    await story.connection.execute("TRUNCATE active_days, active_due, feature_value_days, outages")
    await story.connection.execute(
        "UPDATE products SET lost_after_seconds = $1, new_for_seconds = 86400", LOST_AFTER.total_seconds()
    )
    return copies


async def run_jobs(story, now):
    """As a server that was never down and whose clock is right: every silence is one of the copies."""
    await reach(story.connection, SERVING, now)
    await keep_as_of(story.connection, JobName.FORGET_OLD_PINGS, now)
    await roll_up_pings(REGISTRY)(story.connection, now)
    await watch_deadlines(story.connection, now)
    return await count_active_copies(REGISTRY)(story.connection, now)


async def counted(story):
    rows = await story.connection.fetch(
        "SELECT product_id, day, dimension, value, verdict, installations FROM active_days"
    )
    return {tuple(row)[:5]: row["installations"] for row in rows}


# ── the recount ─────────────────────────────────────────────────────────────────────────────


class Recount:
    """From the rows of pings and changes, one copy and one day after the other."""

    def __init__(self, story, facts, heard, changes):
        self.facts, self.heard = facts, heard
        self.changes = changes
        self.days = defaultdict(dict)
        for (day, copy), pings in story.plain.by_day().items():
            self.days[copy][day] = pings[-1]
        self.newest = {}
        for (copy, _), one in sorted(story.plain.kept.items(), key=lambda item: item[0]):
            self.newest[copy] = one

    def by_day(self, first, last):
        rows = defaultdict(int)
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            for copy, fact in self.facts.items():
                for dimension, value, verdict in self._of(copy, fact, day):
                    for each in ("", verdict):
                        rows[fact["product_id"], day, dimension, value, each] += 1
        return dict(rows)

    def _of(self, copy, fact, day):
        end = datetime.combine(day + timedelta(days=1), time(), UTC)
        verdict = self._before(copy, "verdict", end) or fact["verdict"]
        life = self._before(copy, "life", end) or fact["life"]
        told_on = None
        if self.heard[copy] >= end - 10 * MINUTE:
            told_on = max((each for each in self.days[copy] if each <= day), default=None)
        if fact["first_received_at"] >= end and told_on is None:
            return
        if life in {"late", "lost"} and told_on is not None:
            since = datetime.combine(told_on, time(), UTC)
            life = "active" if since + LATE_AFTER > end else "late" if since + LOST_AFTER > end else life
        yield "life", life, verdict
        if turned := self._turned(copy, fact, end):
            yield "turned", turned, verdict
        if life == "lost":
            return
        sent, told = self.newest[copy] if told_on is None else self.days[copy][told_on]
        mismatch = fact["claim_mismatch"] if told_on is None else told.mismatch
        values = NOT_TOLD | told.state.values | PLACES[sent.place][1] | FLAGS
        values |= {"all": "", "verdict": verdict, "claim_mismatch": str(mismatch).lower()}
        for dimension, value in values.items():
            yield dimension, value, verdict

    def _before(self, copy, field, end):
        later = [each for each in self.changes if each["field"] == field and each["changed_at"] >= end]
        return next((each["before"] for each in later if each["installation_id"] == copy), None)

    def _turned(self, copy, fact, end):
        if end - DAY <= fact["first_received_at"] < end:
            return "new"
        found = [
            each["after"]
            for each in self.changes
            if each["installation_id"] == copy
            and (each["field"], each["after"]) in {("life", "lost"), ("life", "returned")}
            and end - DAY <= each["changed_at"] < end
        ]
        return found[-1] if found else None


async def recount(story, now, first=None):
    rows = await story.connection.fetch("TABLE installation_facts")
    facts = {UUID(bytes=row["installation_id"].bytes): row for row in rows}
    rows = await story.connection.fetch("SELECT installation_id, last_received_at FROM installations")
    heard = {UUID(bytes=row["installation_id"].bytes): row["last_received_at"] for row in rows}
    changes = await story.connection.fetch("SELECT * FROM changes ORDER BY changed_at, sequence")
    first = first or min((day for day, _ in story.plain.by_day()), default=now.date())
    return Recount(story, facts, heard, changes).by_day(first, (now - job.SWEEP).date())


tellings = st.builds(
    Told,
    sequence=st.integers(1, 12),
    occurred_at=st.sampled_from([0, 1, 30, 4 * 24]).map(lambda hours: hours * HOUR),
    state=st.sampled_from(STATES),
    verdict=st.sampled_from([Verdict.VALID, Verdict.UNKNOWN_KEY]),
    mismatch=st.booleans(),
    ping_id=st.uuids(),
)
sendings = st.tuples(
    st.sampled_from([0, 1, 9, 24, 50, 130]).map(lambda hours: hours * HOUR),
    st.integers(0, 2),
    st.integers(0, len(PLACES) - 1),
    st.lists(tellings, min_size=1, max_size=3, unique_by=lambda one: one.sequence),
)


@given(data=st.data(), steps=st.lists(sendings, min_size=1, max_size=5))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_the_ends_of_days_are_a_recount_of_pings_and_changes(story, data, steps):
    """Pings come late and out of order, with runs of the jobs between them; copies become late, lost and return."""
    copies = await begin(story)
    now = NOON
    for pause, copy, place, told in steps:
        now += pause
        made = [replace(one, occurred_at=now - one.occurred_at) for one in told]
        await story.send(copies[copy], now, *made, product=copy % 2, place=place)
        if data.draw(st.booleans()):
            await run_jobs(story, now + MINUTE)
    now += data.draw(st.sampled_from([HOUR, 3 * DAY, 6 * DAY]))
    await run_jobs(story, now)
    await run_jobs(story, now + 21 * MINUTE)
    expected = await recount(story, now + 21 * MINUTE)
    assert await counted(story) == expected
    await story.connection.execute("UPDATE active_days SET installations = installations + 7")
    first = min(day for _, day, *_ in expected)
    async for _ in rebuild(story.connection, REGISTRY, first, now.date(), now + 21 * MINUTE):
        pass
    assert await counted(story) == expected


# ── one copy after the other ────────────────────────────────────────────────────────────────


async def _life(story):
    rows = await story.connection.fetch(
        "SELECT day, value FROM active_days WHERE dimension = 'life' AND verdict = '' ORDER BY day"
    )
    return [row["value"] for row in rows]


async def test_a_copy_counts_on_days_without_a_ping_until_it_is_lost(story):
    await begin(story)
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await run_jobs(story, NOON + 7 * DAY)
    assert await _life(story) == ["new", "active", "late", "late", "late", "lost", "lost", "lost"]
    rows = await story.connection.fetch(
        "SELECT day FROM active_days WHERE dimension = 'version' AND verdict = ''"
    )
    assert len(rows) == 5


async def test_late_pings_make_a_silence_one_that_was_none(story):
    """The copy had no network for four days, and kept its pings."""
    await begin(story)
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    for hours in range(1, 4 * 24):
        await run_jobs(story, NOON + hours * HOUR) if hours % 24 == 0 else None
    assert await _life(story) == ["new", "active", "late", "late"]
    kept = [Told(number + 1, NOON + number * DAY, STATES[1]) for number in range(1, 5)]
    await story.send(UUID(int=1), NOON + 4 * DAY, *kept)
    await run_jobs(story, NOON + 4 * DAY + MINUTE)
    assert await _life(story) == ["new", "active", "active", "active", "active"]
    rows = await story.connection.fetch(
        "SELECT day, value FROM active_days WHERE dimension = 'version' AND verdict = '' ORDER BY day"
    )
    assert [row["value"] for row in rows] == ["7.2.1", "7.3.0", "7.3.0", "7.3.0", "7.3.0"]


async def test_a_day_that_is_over_is_counted_once_more_and_then_rests(story):
    await begin(story)
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await run_jobs(story, NOON + MINUTE)
    due = "SELECT day FROM active_due ORDER BY day"
    assert [row["day"] for row in await story.connection.fetch(due)] == [NOON.date()]
    await run_jobs(story, NOON + 12 * HOUR + 10 * MINUTE)
    assert [row["day"] for row in await story.connection.fetch(due)] == [NOON.date()]
    await run_jobs(story, NOON + 12 * HOUR + 16 * MINUTE)
    assert [row["day"] for row in await story.connection.fetch(due)] == [(NOON + DAY).date()]


async def test_a_large_product_waits(story, monkeypatch):
    monkeypatch.setattr(job, "SMALL", 0)
    await begin(story)
    await story.send(UUID(int=1), NOON - DAY, Told(1, NOON - DAY))
    await run_jobs(story, NOON)
    await story.send(UUID(int=2), NOON, Told(1, NOON), Told(2, NOON - DAY))
    assert await run_jobs(story, NOON + MINUTE) == "counted 0 days of products again"
    assert await run_jobs(story, NOON + 5 * MINUTE) == "counted 1 days of products again"
    assert await run_jobs(story, NOON + 6 * HOUR + 2 * MINUTE) == "counted 2 days of products again"


async def test_the_days_of_an_earlier_version_are_counted_the_newest_first(story, monkeypatch):
    await begin(story)
    for number in range(4):
        at = NOON + number * DAY
        await story.send(UUID(int=number + 1), at, Told(1, at))
    await roll_up_pings(REGISTRY)(story.connection, NOON + 3 * DAY + MINUTE)
    await story.connection.execute("TRUNCATE active_due")
    monkeypatch.setattr(job, "SHARE", timedelta(0))
    seen = []
    for minute in range(1, 5):
        await count_active_copies(REGISTRY)(story.connection, NOON + 3 * DAY + minute * MINUTE)
        seen.append(await story.connection.fetchval("SELECT count(DISTINCT day) FROM active_days"))
    assert seen[0] == 1
    monkeypatch.undo()
    await count_active_copies(REGISTRY)(story.connection, NOON + 3 * DAY + HOUR)
    rows = await story.connection.fetch(
        "SELECT installations FROM active_days WHERE dimension = 'all' AND verdict = '' ORDER BY day"
    )
    assert [row["installations"] for row in rows] == [1, 2, 3, 4]


# ── the questions ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def some_days(story, database):
    """Three copies over three days: one changes its version, one its verdict, and one comes on the last day."""
    await begin(story)
    await story.send(UUID(int=1), NOON, Told(1, NOON))
    await story.send(UUID(int=2), NOON, Told(1, NOON, STATES[1]), product=1)
    await story.send(UUID(int=1), NOON + DAY, Told(2, NOON + DAY, STATES[1]))
    await story.send(
        UUID(int=2), NOON + DAY, Told(2, NOON + DAY, STATES[1], verdict=Verdict.REVOKED), product=1
    )
    await story.send(UUID(int=3), NOON + 2 * DAY, Told(1, NOON + 2 * DAY, verdict=Verdict.NO_KEY), place=1)
    await run_jobs(story, NOON + 2 * DAY + MINUTE)
    async with make_pool(database) as pool:
        yield pool


FIRST = NOON.date()
SPAN = Span(FIRST, FIRST + timedelta(days=6), TimeStep.DAY)
NOW = NOON + 3 * DAY


async def series(pool, by, text="", span=SPAN):
    counts = await active.active_series(pool, by, parse_filter(text), span, now=NOW)
    return [(row["day"].day - FIRST.day, row["value"], row["installations"]) for row in counts.rows]


async def test_series_of_copies_by_any_dimension(some_days):
    assert await series(some_days, "all") == [(0, "", 2), (1, "", 2), (2, "", 3)]
    assert await series(some_days, "all", "verdict!=valid") == [(1, "", 1), (2, "", 2)]
    assert await series(some_days, "verdict", "product=panel") == [
        (0, "valid", 1),
        (1, "revoked", 1),
        (2, "revoked", 1),
    ]
    assert await series(some_days, "version") == [
        *((0, "7.2.1", 1), (0, "7.3.0", 1)),
        *((1, "7.3.0", 2), (2, "7.3.0", 2), (2, "7.2.1", 1)),
    ]
    assert await series(some_days, "product", "country=DE") == [(2, "billing", 1)]
    of_one_version = [
        *((0, "valid", 1), (1, "revoked", 1), (1, "valid", 1), (2, "revoked", 1), (2, "valid", 1)),
    ]
    assert await series(some_days, "verdict", "version=7.3.*") == of_one_version
    assert await series(some_days, "verdict", "life!=lost version>7.2.9") == of_one_version
    assert await series(some_days, "all", "hosting=true,false") == []
    assert await series(some_days, "life", "life!=lost") == [
        (0, "new", 2),
        (1, "active", 2),
        (2, "active", 2),
        (2, "new", 1),
    ]
    assert await series(some_days, "turned") == [(0, "new", 2), (2, "new", 1)]
    week = Span(FIRST - timedelta(days=FIRST.weekday()), FIRST + timedelta(days=6), TimeStep.WEEK)
    counts = await active.active_series(some_days, "all", parse_filter(""), week, now=NOW)
    assert [(row["day"], row["installations"]) for row in counts.rows] == [(week.first, 3)]


async def test_the_uncovered_copies_by_verdict(some_days):
    counts = await active.uncovered_series(some_days, parse_filter(""), SPAN, now=NOW)
    assert [(row["day"].day - FIRST.day, row["value"]) for row in counts.rows] == [
        *((1, "revoked"), (2, "no_key"), (2, "revoked")),
    ]


async def test_totals_and_values_at_two_moments(some_days):
    last, missing = FIRST + timedelta(days=2), FIRST + timedelta(days=30)
    found = await active.active_totals(some_days, parse_filter(""), [FIRST, last, missing], now=NOW)
    assert found.keys() == {FIRST, last}
    assert (found[FIRST].active, found[FIRST].uncovered, found[FIRST].turned) == (2, 0, {"new": 2})
    assert (found[last].active, found[last].uncovered) == (3, 2)
    assert found[last].by_verdict == {"valid": 1, "revoked": 1, "no_key": 1}
    rows = await active.active_values(some_days, "version", parse_filter(""), last, FIRST, now=NOW)
    assert [tuple(row.values()) for row in rows] == [("7.3.0", 2, 1), ("7.2.1", 1, 1)]
    rows = await active.active_values(some_days, "version", parse_filter(""), last, now=NOW, values=1)
    assert [tuple(row.values()) for row in rows] == [("7.3.0", 2, 2), (None, 1, 1)]


@pytest.mark.parametrize(
    "text", ["country=DE version=7.3.0", "last_seen<3d", "license=none", "address=192.0.2.7"]
)
async def test_what_is_not_counted_together_is_not_asked(some_days, text):
    with pytest.raises(NotThen):
        await series(some_days, "verdict", text)


async def test_the_dimensions_that_are_counted_are_those_that_can_be_asked(some_days, story):
    rows = await story.connection.fetch("SELECT DISTINCT dimension FROM active_days")
    assert {row["dimension"] for row in rows} | {"product"} == set(active.DIMENSIONS)
    assert active_days.TURNED in active.DIMENSIONS


# ── features ────────────────────────────────────────────────────────────────────────────────


async def test_features_by_version_edition_verdict_and_life(story, database):
    """Three copies: one with the old version, and one that uses nothing."""
    await begin(story)
    await story.send(UUID(int=1), NOON, Told(1, NOON, features={"a": 4, "b": 1}))
    await story.send(UUID(int=2), NOON, Told(1, NOON, STATES[1], {"a": 2}, Verdict.REVOKED), product=1)
    await story.send(UUID(int=3), NOON, Told(1, NOON, STATES[1], None, Verdict.REVOKED))
    await story.send(UUID(int=1), NOON + DAY, Told(2, NOON + DAY, STATES[1], {"a": 1}))
    await run_jobs(story, NOON + DAY + MINUTE)
    total = Span(FIRST, FIRST + timedelta(days=6), TimeStep.TOTAL)

    async def used(pool, by, text="", span=total, **named):
        wanted = parse_filter(text, FEATURES)
        counts = await feature_use.feature_use(pool, by, wanted, span, now=NOW, **{"limit": 9, **named})
        return [tuple(row.values())[1:] for row in counts.rows]

    async with make_pool(database) as pool:
        assert await used(pool, "all") == [("a", "", 7, 2, 3, 4), ("b", "", 1, 1, 1, 4)]
        assert await used(pool, "all", limit=1) == [("a", "", 7, 2, 3, 4)]
        assert await used(pool, "version") == [
            *(("a", "7.2.1", 4, 1, 1, 1), ("a", "7.3.0", 3, 1, 2, 3), ("b", "7.2.1", 1, 1, 1, 1)),
        ]
        assert await used(pool, "version", "product=panel") == [("a", "7.3.0", 2, 1, 1, 1)]
        assert await used(pool, "verdict", "feature=a") == [
            *(("a", "revoked", 2, 1, 1, 2), ("a", "valid", 5, 1, 2, 2)),
        ]
        assert await used(pool, "edition", "feature=b") == [("b", "business", 1, 1, 1, 1)]
        assert await used(pool, "life", values=1) == [
            *(("a", "new", 6, 2, 2, 3), ("a", None, 1, 1, 1, 1), ("b", "new", 1, 1, 1, 3)),
        ]
        by_day = Span(FIRST, FIRST + timedelta(days=6), TimeStep.DAY)
        assert await used(pool, "all", span=by_day) == [
            *(("a", "", 6, 2, 2, 3), ("b", "", 1, 1, 1, 3), ("a", "", 1, 1, 1, 1)),
        ]


async def test_of_very_many_values_and_features_the_rest_is_other_and_left_out(story, monkeypatch):
    monkeypatch.setattr(active_days, "MOST_FEATURES", 1)
    monkeypatch.setattr(active_days, "MOST_FEATURE_VALUES", 1)
    await begin(story)
    for copy in range(1, 4):
        facts = {"license": {"status": "licensed"}, "service": {"version": f"1.{copy}"}}
        state = State(100 + copy, facts, None, {})
        await story.send(UUID(int=copy), NOON, Told(1, NOON, state, {"common": 1, f"f{copy}": 5}))
    await run_jobs(story, NOON + MINUTE)
    rows = await story.connection.fetch(
        "SELECT value, feature, uses, installations FROM feature_value_days WHERE dimension = 'version' ORDER BY 1, 2"
    )
    assert [tuple(row) for row in rows] == [
        *(("1.1", "", 0, 1), ("1.1", "common", 1, 1), ("other", "", 0, 2), ("other", "common", 2, 2)),
    ]
