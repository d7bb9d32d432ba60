"""What is over goes, by its class; what is kept for ever stays; and counts never suffer from either."""

import json
from datetime import timedelta
from uuid import UUID

import pytest
from plain_count import STATES, Told
from story import DAY, HOUR, MINUTE, NOON, REGISTRY

from telemetry_server.errors import SettingsError
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.jobs.retention import forget_old_counters, forget_old_pings
from telemetry_server.settings import Settings, read_settings
from telemetry_server.store.partitions import INSTALLATION_DAYS, make_partitions, partition_months
from telemetry_server.store.upkeep import retention


def keeping(text):
    return REGISTRY.keeping(read_settings({"TELEMETRY_RETENTION_DAYS": text}, {}).retention_days)


# ── the setting ─────────────────────────────────────────────────────────────────────────────


def test_without_the_setting_the_registry_decides():
    assert REGISTRY.keeping(Settings().retention_days) == REGISTRY


def test_a_class_is_kept_as_long_as_the_setting_says_and_the_others_as_before():
    kept = {name: entry.days for name, entry in keeping(" ping=30, usage = forever ").retention.items()}
    assert kept == {"ping": 30, "fact": 400, "usage": None}
    assert str(keeping("usage=forever").retention["usage"]) == "for ever"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pings=30", "there is no class 'pings'; there are ping, fact, usage"),
        ("ping", "write it like"),
        ("ping=0", "write it like"),
        ("ping=-3", "write it like"),
        ("ping=³", "write it like"),
        ("ping=99999999", "write it like"),
        ("ping=never", "write it like"),
        ("ping=30,ping=40", "names a class twice"),
        ("fact=30", "fact (30 days) must not be shorter than ping (400 days)"),
        ("ping=forever", "fact (400 days) must not be shorter than ping (for ever)"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_a_reason(text, said):
    with pytest.raises(SettingsError) as refused:
        keeping(text)
    assert said in str(refused.value)
    assert "TELEMETRY_RETENTION_DAYS" in str(refused.value)


# ── what goes, and what stays ───────────────────────────────────────────────────────────────


async def roll_up(story, registry, now):
    await roll_up_pings(registry)(story.connection, now)
    await roll_up_days(registry)(story.connection, now)


async def forget(story, registry, now):
    return [await job(registry)(story.connection, now) for job in (forget_old_pings, forget_old_counters)]


async def fleet_with_history(story, registry=REGISTRY):
    """A copy's ping every ten days for half a year, counted as they came; gives the time after them."""
    for number in range(18):
        at = NOON + 10 * number * DAY
        await make_partitions(story.connection, at.date())
        await story.send(UUID(int=1), at, Told(number + 1, at, features={"a": number + 1}))
        await roll_up(story, registry, at + MINUTE)
    return NOON + 175 * DAY


async def test_kept_for_ever_nothing_goes(story):
    registry = keeping("ping=forever,fact=forever,usage=forever")
    await fleet_with_history(story, registry)
    said = await forget(story, registry, NOON + 50 * 365 * DAY)
    assert said == ["dropped 0 months and 0 states", "nothing to do: counters are dropped with their month"]
    await story.agrees()


async def test_pings_go_by_the_month_and_the_fleet_keeps_its_counts(story):
    now = await fleet_with_history(story, registry := keeping("ping=60,usage=60"))
    fleet, features = await story.fleet_days(), await story.feature_days()
    now -= 5 * DAY
    await forget(story, registry, now)
    left = await story.connection.fetchval("SELECT min(received_at) FROM pings")
    assert NOON + 80 * DAY < left < now - 60 * DAY
    assert (await story.connection.fetchval("SELECT min(day) FROM installation_days")) == left.date()
    assert (await story.fleet_days(), await story.feature_days()) == (fleet, features)


async def test_counters_for_ever_keep_the_days_they_are_in_and_not_the_pings(story):
    now = await fleet_with_history(story, registry := keeping("ping=30,fact=30,usage=forever"))
    before = await story.installation_days()
    await forget(story, registry, now)
    assert await story.connection.fetchval("SELECT count(*) FROM pings") < 7
    assert await story.installation_days() == before
    assert NOON.date().replace(day=1) in await partition_months(story.connection, INSTALLATION_DAYS)


async def test_counters_that_are_over_leave_pings_and_days_that_stay(story):
    now = await fleet_with_history(story)
    features = await story.feature_days()
    registry = keeping("usage=60")
    assert await forget(story, registry, now) == [
        "dropped 0 months and 0 states",
        f"removed the counters of 24 rows from before {(now - 60 * DAY).date()}",
    ]
    rows = await story.connection.fetch(
        "SELECT received_at, features IS NULL AND NOT details ? 'usage' AS gone, reason FROM v_pings"
    )
    assert {(row["received_at"] < now - 60 * DAY, row["gone"]) for row in rows} == {
        (True, True),
        (False, False),
    }
    assert {row["reason"] for row in rows} == {"heartbeat"}
    days = await story.installation_days()
    assert {(day < (now - 60 * DAY).date(), row[-1] is None) for (day, _), row in days.items()} == {
        (True, True),
        (False, False),
    }
    assert await story.feature_days() == features
    assert "counters of 0 rows" in (await forget(story, registry, now))[1]
    assert "counters of 2 rows" in (await forget(story, registry, now + 10 * DAY))[1]


async def test_a_late_ping_brings_no_counters_back_and_takes_none_from_the_sums(story):
    now = await fleet_with_history(story)
    features = await story.feature_days()
    registry = keeping("usage=60")
    await forget(story, registry, now)
    await story.send(UUID(int=1), now, Told(90, NOON, features={"a": 1000}))
    await roll_up(story, registry, now + MINUTE)
    assert await story.feature_days() == features
    assert (await story.fleet_days()) == story.plain.fleet_days()
    row = await story.connection.fetchrow("SELECT * FROM v_installation_days WHERE day = $1", NOON.date())
    assert (row["pings"], row["features"]) == (2, None)
    await roll_up(story, REGISTRY, now + HOUR)  # a longer retention, later, does not bring them back
    await story.send(UUID(int=1), now + HOUR, Told(91, NOON, features={"a": 1000}))
    await roll_up(story, REGISTRY, now + 2 * HOUR)
    assert await story.feature_days() == features


async def test_a_late_ping_of_a_day_that_is_over_changes_no_count(story):
    now = await fleet_with_history(story, registry := keeping("ping=60,usage=60"))
    await forget(story, registry, now)
    fleet, days = await story.fleet_days(), await story.installation_days()
    await story.send(UUID(int=2), now, Told(1, NOON, features={"a": 1}), Told(2, now - 61 * DAY))
    await roll_up(story, registry, now + MINUTE)
    assert (await story.fleet_days(), await story.installation_days()) == (fleet, days)
    await story.send(UUID(int=2), now + HOUR, Told(3, NOON), Told(4, now - 61 * DAY))
    await roll_up(story, REGISTRY, now + 2 * HOUR)  # a longer retention, later, does not bring the pings back
    assert (await story.fleet_days(), await story.installation_days()) == (fleet, days)
    assert await story.connection.fetch("TABLE days_due") == []


async def test_a_run_that_fails_goes_on_where_it_was(story, monkeypatch):
    now = await fleet_with_history(story)
    real, seen = retention.forget_counters, []

    async def fails_once(connection, day):
        seen.append(day)
        if len(seen) == 50:
            raise OSError("no luck")
        return await real(connection, day)

    monkeypatch.setattr(retention, "forget_counters", fails_once)
    with pytest.raises(OSError, match="no luck"):
        await forget(story, keeping("usage=60"), now)
    await forget(story, keeping("usage=60"), now)
    assert seen[49] == seen[50]
    assert seen[:49] + seen[50:] == [NOON.date() + timedelta(days=n) for n in range(115)]
    rows = await story.connection.fetch("SELECT features FROM v_installation_days ORDER BY day")
    assert [row["features"] and json.loads(row["features"])["a"] for row in rows] == [None] * 12 + list(
        range(13, 19)
    )


async def test_a_state_goes_with_its_last_ping_but_not_before_its_time(story):
    now = await fleet_with_history(story)
    await story.send(UUID(int=1), now, Told(50, now, STATES[1]))
    registry = keeping("ping=30,usage=30,fact=300")
    await forget(story, registry, now + 90 * DAY)
    assert await story.connection.fetchval("SELECT count(*) FROM states") == 2
    await forget(story, registry, now + 130 * DAY)
    assert await story.connection.fetchval("SELECT count(*) FROM states") == 1
