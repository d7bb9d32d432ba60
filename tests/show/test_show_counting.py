"""The fleet, its features and cohorts in numbers, held against the rows they are made of."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote

import pytest

from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.store.counts import counting
from telemetry_server.store.dimensions import DIMENSIONS
from telemetry_server.store.registry.products import add_product

TODAY = datetime.now(UTC).date()
MONDAY = date(2026, 11, 2)


@pytest.fixture
async def program(site):
    return await site.program()


async def counted(program, path):
    answer = await program.get(path)
    assert answer.status == 200, answer.text
    return answer.json


def by_value(document):
    return {item["value"]: item["installations"] for item in document["items"]}


# ── now ─────────────────────────────────────────────────────────────────────────────────────

COLUMNS = {one.name: f"coalesce({one.column}::text, 'unknown')" for one in DIMENSIONS}


def test_every_dimension_is_a_field_of_the_filter_language_and_counted_below():
    assert COLUMNS.keys() <= INSTALLATIONS.keys()
    assert set(counting.DIMENSIONS) == {"all", "product", *COLUMNS}


@pytest.mark.parametrize("by", COLUMNS)
async def test_the_present_is_counted_by_every_dimension(program, fleet, by):
    rows = await program.site.execute(f"SELECT {COLUMNS[by]} AS value FROM installation_facts")
    document = await counted(program, f"/api/v1/fleet?by={by}&limit=500")
    assert by_value(document) == Counter(row["value"] for row in rows)
    assert (document["by"], document["step"]) == (by, None)
    assert {(item["day"], item["pings"]) for item in document["items"]} == {(None, None)}
    counts = [item["installations"] for item in document["items"]]
    assert counts == sorted(counts, reverse=True)


async def test_without_a_dimension_all_are_counted(program, fleet):
    everything = (await counted(program, "/api/v1/installations?limit=500"))["items"]
    assert by_value(await counted(program, "/api/v1/fleet")) == {"": len(everything)}
    assert by_value(await counted(program, "/api/v1/fleet?by=product")) == {"billing-suite": len(everything)}


@pytest.mark.parametrize(
    "path",
    [
        "fleet?product=bling",
        "fleet?filter=product!%3Dbling",
        "fleet?step=day&product=bling",
        "installations?product=bling",
        "installations?filter=product%3Dbilling-suite,bling",
    ],
)
async def test_a_product_that_is_not_there_is_an_error_that_names_those_that_are(program, fleet, path):
    answer = await program.get(f"/api/v1/{path}")
    assert (answer.status, answer.json["code"]) == (400, "bad_filter")
    assert answer.json["detail"] == "There is no product bling. The products are billing-suite."


async def test_what_a_filter_wants_is_counted_as_the_list_shows_it(program, fleet):
    asked = quote("os=debian,ubuntu version>=7.1.4 last_seen<20d attention!=forked")
    listed = (
        await counted(program, f"/api/v1/installations?license_status=licensed&filter={asked}&limit=500")
    )["items"]
    document = await counted(program, f"/api/v1/fleet?by=country&license_status=licensed&filter={asked}")
    assert by_value(document) == Counter(item["place"]["country"] or "unknown" for item in listed)
    assert len(listed) > 5


async def test_rare_values_come_as_one_without_a_name(program, fleet):
    whole = by_value(await counted(program, "/api/v1/fleet?by=country&limit=500"))
    few = (await counted(program, "/api/v1/fleet?by=country&limit=2"))["items"]
    assert [item["value"] for item in few] == [*list(whole)[:2], None]
    assert sum(item["installations"] for item in few) == sum(whole.values())


# ── over time, from the roll-up of each day ─────────────────────────────────────────────────


@pytest.fixture
async def rolled_up(site, product):
    """Three products' days; each row is product, day, dimension, value, verdict, installations, pings."""
    other, _ = await site.with_database(add_product, "Panel", now=datetime.now(UTC))
    rows = [
        (product.id, MONDAY + timedelta(days=day), dimension, value, verdict, installations + day, pings)
        for day in range(10)
        for dimension, value, verdict, installations, pings in (
            ("all", "", "", 30, 60),
            ("all", "", "valid", 20, 40),
            ("all", "", "expired", 10, 20),
            ("country", "DE", "", 18, 36),
            ("country", "DE", "valid", 12, 24),
            ("country", "DE", "expired", 6, 12),
            ("country", "FR", "", 12, 24),
            ("country", "FR", "valid", 8, 16),
            ("country", "FR", "expired", 4, 8),
            ("verdict", "valid", "", 20, 40),
            ("verdict", "expired", "", 10, 20),
        )
    ]
    rows += [(other.id, MONDAY, "all", "", "", 5, 5), (other.id, MONDAY, "country", "DE", "", 5, 5)]
    connection = site.with_database
    await connection(
        lambda c: c.executemany(
            "INSERT INTO fleet_days (product_id, day, dimension, value, verdict, installations, pings) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            rows,
        )
    )
    await site.execute("INSERT INTO rollup_marks VALUES ('roll up pings', '2026-11-12T01:02:03Z')")
    return rows


SPAN = "from=2026-11-02&to=2026-11-11"


async def test_days_are_counted_from_their_roll_up(program, rolled_up):
    document = await counted(program, f"/api/v1/fleet?by=country&{SPAN}")
    first, second, *_ = document["items"]
    assert first == {"day": "2026-11-02", "value": "DE", "installations": 23, "pings": 41}
    assert second == {"day": "2026-11-02", "value": "FR", "installations": 12, "pings": 24}
    assert len(document["items"]) == 20
    for item in (await counted(program, f"/api/v1/fleet?by=country&{SPAN}&limit=1"))["items"]:
        assert item["value"] in {"DE", None}
    assert (document["step"], document["counted_until"]) == ("day", "2026-11-12T01:02:03Z")


async def test_a_step_tells_its_pings_and_its_fullest_day(program, rolled_up):
    weeks = (await counted(program, f"/api/v1/fleet?{SPAN}&step=week"))["items"]
    assert weeks == [
        {"day": "2026-11-02", "value": "", "installations": 36, "pings": 7 * 60 + 5},
        {"day": "2026-11-09", "value": "", "installations": 39, "pings": 3 * 60},
    ]
    [month] = (await counted(program, f"/api/v1/fleet?{SPAN}&step=month"))["items"]
    assert (month["day"], month["installations"]) == ("2026-11-01", 39)


@pytest.mark.parametrize(
    ("query", "first_day"),
    [
        ("by=country&filter=verdict=expired", {"DE": 6, "FR": 4}),
        ("by=country&filter=verdict=expired,valid", {"DE": 18, "FR": 12}),
        ("by=country&filter=verdict!=valid", {"DE": 6, "FR": 4}),
        ("by=country&verdict=valid&limit=1", {"DE": 12, None: 8}),
        ("by=verdict", {"valid": 20, "expired": 10}),
        ("by=verdict&filter=verdict=expired", {"expired": 10}),
        ("by=product", {"billing-suite": 30, "panel": 5}),
        ("by=product&filter=verdict=valid", {"billing-suite": 20}),
        ("product=panel", {"": 5}),
        ("filter=product!=panel", {"": 30}),
        ("filter=simulated=true", {}),
    ],
)
async def test_products_and_verdicts_are_told_apart(program, rolled_up, query, first_day):
    document = await counted(program, f"/api/v1/fleet?{query}&from=2026-11-02&to=2026-11-02")
    assert by_value(document) == first_day


async def test_before_the_first_roll_up_nothing_is_counted(program, product):
    document = await counted(program, "/api/v1/fleet?step=day")
    assert (document["items"], document["counted_until"]) == (None, None)


# ── over time, from the installations of each day ───────────────────────────────────────────


@pytest.fixture
async def rolled_up_once(site):
    await site.execute("INSERT INTO rollup_marks VALUES ('roll up pings', '2026-11-12T01:02:03Z')")


@pytest.fixture
async def days(site, fleet, rolled_up_once):
    """Each installation on each day that it sent a ping, in the state of its last."""
    await site.execute(
        "INSERT INTO installation_days SELECT DISTINCT ON (day, g.installation_id) g.received_at::date AS day, g.installation_id, i.product_id, g.state, CASE WHEN g.state > '\\x80' THEN 'valid' ELSE 'expired' END, g.state > '\\xc0', false, count(*) OVER (PARTITION BY g.received_at::date, g.installation_id), NULL "
        "FROM pings AS g JOIN installations AS i USING (installation_id) ORDER BY day, g.installation_id, g.sequence DESC"
    )
    return await site.execute(
        "SELECT d.*, s.facts::json #>> '{os,name}' AS os, s.facts::json #>> '{service,version}' AS version, s.place ->> 'country' AS country FROM installation_days d JOIN states s USING (installation_id, state)"
    )


async def test_other_filters_are_counted_from_the_installations_of_each_day(program, days):
    document = await counted(program, f"/api/v1/fleet?by=country&from={_ago(30)}&limit=500&filter=os=debian")
    expected, pings = Counter(), Counter()
    for row in days:
        if row["os"] == "debian" and row["day"] >= date.fromisoformat(_ago(30)):
            key = (row["day"].isoformat(), row["country"] or "unknown")
            expected[key] += 1
            pings[key] += row["pings"]
    assert {(i["day"], i["value"]): i["installations"] for i in document["items"]} == expected
    assert {(i["day"], i["value"]): i["pings"] for i in document["items"]} == pings
    assert len(expected) > 20


async def test_what_is_not_rolled_up_is_counted_from_the_installations_of_each_day(program, days):
    document = await counted(program, f"/api/v1/fleet?by=claim_mismatch&from={_ago(30)}&step=month")
    assert set(by_value(document)) == {"true", "false"}
    asked = quote("claim_mismatch=true version>=7.2")
    document = await counted(program, f"/api/v1/fleet?from={_ago(0)}&filter={asked}")
    wanted = [r for r in days if r["day"] == TODAY and r["claim_mismatch"] and r["version"] >= "7.2"]
    assert by_value(document) == ({"": len(wanted)} if wanted else {})


@pytest.mark.parametrize("by", ["all", "verdict", "version", "country", "vm", "environment"])
@pytest.mark.parametrize("step", ["day", "week"])
async def test_roll_ups_and_the_rows_they_are_made_of_give_the_same(program, counted_fleet, by, step):
    asked = f"/api/v1/fleet?by={by}&step={step}&from={_ago(30)}&limit=200"
    rolled_up = await counted(program, asked)
    from_rows = await counted(program, f"{asked}&filter=id!=00000000")
    assert rolled_up == from_rows
    assert len(rolled_up["items"]) > 4
    assert rolled_up["counted_until"]


def _ago(days):
    return (TODAY - timedelta(days=days)).isoformat()


@pytest.mark.parametrize(
    "query", ["by=life", "life=lost", "filter=last_seen<3d", "attention=lost", "seen=7d"]
)
async def test_what_is_known_of_the_present_only_is_not_counted_over_time(program, product, query):
    answer = await program.get(f"/api/v1/fleet?{query}&step=day")
    assert (answer.status, answer.json["code"]) == (400, "only_now")
    assert "Omit from, to and step." in answer.json["detail"]


async def test_a_question_that_takes_too_long_says_how_to_ask_for_less(
    program, fleet, connection, monkeypatch
):
    monkeypatch.setattr("telemetry_server.store.reading.SECONDS", 0.3)
    async with connection.transaction():
        await connection.execute("LOCK TABLE installation_facts, installation_days IN ACCESS EXCLUSIVE MODE")
        now = await program.get("/api/v1/fleet?by=country")
        over_time = await program.get("/api/v1/fleet?by=country&country=DE&step=day")
    for answer, hint in ((now, "Ask for one product"), (over_time, "Ask for fewer days")):
        assert (answer.status, answer.json["code"]) == (503, "too_slow")
        assert hint in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/api/v1/fleet?by=colour", "by must be one of all, product, verdict"),
        ("/api/v1/fleet?step=total", "step must be one of day, week, month"),
        ("/api/v1/fleet?from=2026-11-31", "from must be a day, like 2026-11-22"),
        ("/api/v1/fleet?from=yesterday", "from must be a day, like 2026-11-22"),
        ("/api/v1/fleet?from=2026-11-22&to=2026-11-21", "from must not be later than to"),
        ("/api/v1/fleet?from=2020-01-01&to=2026-11-21", "may be 1,100 days apart"),
        ("/api/v1/fleet?from=2026-01-01&to=2026-11-21&limit=500", "fewer days, larger steps or a lower limit"),
        ("/api/v1/fleet?filter=contry%3DDE", "did you mean country?"),
        ("/api/v1/features?step=hour", "step must be one of day, week, month, total"),
        ("/api/v1/cohorts?from=2026-11-22&to=2026-11-21", "from must not be later than to"),
    ],
)  # fmt: skip
async def test_a_bad_question_is_told_what_is_wrong(program, path, hint):
    answer = await program.get(path)
    assert answer.status == 400
    assert hint in answer.json["detail"]


# ── features and cohorts ────────────────────────────────────────────────────────────────────


@pytest.fixture
async def used(site, product, rolled_up_once):
    rows = [
        (product.id, MONDAY + timedelta(days=day), feature, uses * (day + 1), installations + day)
        for day in range(3)
        for feature, uses, installations in (
            ("invoice.sent", 10, 4),
            ("api.call", 2**62, 7),
            ("backup", 1, 1),
        )
    ]
    await site.with_database(
        lambda c: c.executemany("INSERT INTO feature_days VALUES ($1, $2, $3, $4, $5)", rows)
    )


async def test_features_are_counted_in_total_the_most_used_first(program, used):
    document = await counted(program, f"/api/v1/features?{SPAN}&limit=2")
    assert document["items"] == [
        {"day": None, "feature": "api.call", "uses": 2**63 - 1, "installations": 9},
        {"day": None, "feature": "invoice.sent", "uses": 60, "installations": 6},
    ]
    assert document["step"] == "total"


async def test_features_are_counted_day_by_day(program, used):
    items = (await counted(program, f"/api/v1/features?{SPAN}&step=day&feature=backup"))["items"]
    assert [(item["day"], item["uses"], item["installations"]) for item in items] == [
        ("2026-11-02", 1, 1),
        ("2026-11-03", 2, 2),
        ("2026-11-04", 3, 3),
    ]
    assert (await counted(program, f"/api/v1/features?{SPAN}&feature=restore"))["items"] == []
    several = (await counted(program, f"/api/v1/features?{SPAN}&filter=feature%3Dbackup,invoice.sent"))[
        "items"
    ]
    assert {item["feature"] for item in several} == {"backup", "invoice.sent"}


async def test_cohorts_are_followed_week_by_week(program, site, product, rolled_up_once):
    other, _ = await site.with_database(add_product, "Panel", now=datetime.now(UTC))
    for made, cohort, week, active in (
        (product, 2, 2, 5),
        (product, 2, 9, 4),
        (other, 2, 9, 2),
        (product, 9, 9, 1),
    ):
        await site.execute(
            "INSERT INTO cohort_weeks VALUES ($1, $2, $3, $4, 1, 0)",
            made.id,
            date(2026, 11, cohort),
            date(2026, 11, week),
            active,
        )
    found = (await counted(program, "/api/v1/cohorts?from=2026-11-05&to=2026-11-12"))["items"]
    assert found == [
        {"cohort": "2026-11-02", "week": "2026-11-02", "active": 5, "lost": 1, "returned": 0},
        {"cohort": "2026-11-02", "week": "2026-11-09", "active": 6, "lost": 2, "returned": 0},
        {"cohort": "2026-11-09", "week": "2026-11-09", "active": 1, "lost": 1, "returned": 0},
    ]
    of_one = (await counted(program, "/api/v1/cohorts?product=panel&from=2026-11-05&to=2026-11-12"))["items"]
    assert [(item["week"], item["active"]) for item in of_one] == [("2026-11-09", 2)]
