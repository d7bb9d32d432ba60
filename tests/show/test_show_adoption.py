"""How fast releases are adopted, and the pages of features."""

from datetime import UTC, date, datetime, timedelta
from time import perf_counter

from patience import patient
from registry_pages import copies, words

from telemetry_server.check.fields import load_registry
from telemetry_server.model import Role
from telemetry_server.show.adoption import adoption, days_to_half
from telemetry_server.show.charts_time import Around
from telemetry_server.show.pages import feature_list
from telemetry_server.store.counts.counting import Counts
from telemetry_server.store.registry.releases import Release

FIRST = date(2026, 11, 1)


def rows(*days):
    """Each day: copies by version."""
    return [
        {"day": FIRST + timedelta(days=number), "value": version, "installations": count}
        for number, counts in enumerate(days)
        for version, count in counts.items()
    ]


def test_half_of_the_copies_counts_from_the_day_of_the_release_on():
    counted = rows(
        {"7.9": 10},
        {"7.9": 8, "7.10": 2},
        {"7.9": 5, "7.10": 4, None: 1},
        {"7.9": 4, "7.10": 4, "7.11": 1, None: 1},
    )
    released = [
        Release("7.11", date(2026, 11, 4), ()),
        Release("7.10", date(2026, 11, 2), ()),
        Release("7.9", date(2026, 10, 1), ()),
        Release("7.12", None, ()),
    ]
    assert days_to_half(released, counted) == {"7.10": 2}
    assert days_to_half(released, ()) == {}


def test_the_chart_names_the_most_frequent_versions_and_sums_the_others():
    versions = {"7.1": 1, "7.2": 20, "7.3": 30, "7.4": 40, "7.10": 50, None: 2}
    starts = [datetime(2026, 11, day, tzinfo=UTC) for day in (1, 2)]
    chart = adoption(rows(versions), starts, [Release("7.4", date(2026, 11, 2), ())], Around())
    assert [(one.text, list(one.values)) for one in chart.series] == [
        ("Other versions", [23, None]),
        ("7.3", [30, None]),
        ("7.4", [40, None]),
        ("7.10", [50, None]),
    ]
    assert [flag.text for flag in chart.flags] == ["7.4"]


def test_versions_that_are_no_numbers_have_their_place():
    counted = [
        {"day": None, "feature": "f", "value": value, "used_by": 1, "reports": 2, "installations": 1}
        for value in ("7.\u00b2", "7.10", "7.9", "\u0663", "unknown", "9" * 60)
    ]
    heat = feature_list.heat_of(Counts(counted, None, []))
    assert heat is not None
    assert heat.columns[:3] == ["9" * 60, "7.10", "7.9"]


def test_years_of_many_versions_take_no_second():
    versions = [f"7.{number}" for number in range(200)]
    days = [dict.fromkeys(versions, 1000) for _ in range(1_100)]
    released = [Release(f"7.{number}", FIRST, ()) for number in range(60, 160)]
    counted, began = rows(*days), perf_counter()
    assert len(days_to_half(released, counted)) == 41
    assert perf_counter() - began < patient(5)


async def test_the_page_of_features_has_shares_of_copies_by_version(site, product):
    from telemetry_server.jobs.active import count_active_copies
    from telemetry_server.jobs.days import roll_up_days
    from telemetry_server.jobs.pings import roll_up_pings

    await copies(site, product, "KEY-A", 3)
    for job in (roll_up_pings, roll_up_days, count_active_copies):
        await site.with_database(job(load_registry()), datetime.now(UTC))
    admin = await site.person(Role.ADMIN)
    page = await admin.get("/features")
    assert page.status == 200
    text = words(page.text)
    assert "invoice.created 100.0 %" in text
    assert "7.2.1" in text
    file = await admin.get("/features?csv=features")
    assert file.text.splitlines()[1].startswith("invoice.created,100.0,36")
    releases = words((await admin.get("/releases")).text)
    assert "Copies by version, at the end of each day" in releases
