"""Ranges, charts, histories and words: what the pages are computed from. No server needed."""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from telemetry_server.check.ranges import RANGES
from telemetry_server.errors import BadRequest
from telemetry_server.routing import Parameter
from telemetry_server.show import formatting, history
from telemetry_server.show.chart_axes import short, short_tick, ticks
from telemetry_server.show.chart_csv import chart_csv
from telemetry_server.show.charts_small import Seats
from telemetry_server.show.charts_time import WIDTH, Around, Flag, Series, diverging, lines, stacked
from telemetry_server.show.filters import FILTERS, filter_from
from telemetry_server.show.query import IDENTIFIER, MOMENT, integer, one_of, read_query, text
from telemetry_server.store.filtering import identities

NOW = datetime(2026, 11, 22, 10, 17, 3, tzinfo=UTC)
moments = st.datetimes(datetime(2001, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


# ── ranges ──────────────────────────────────────────────────────────────────────────────────


def test_a_range_is_as_long_as_it_says():
    assert RANGES["7d"].since(NOW) == datetime(2026, 11, 15, 10, 17, 3, tzinfo=UTC)
    assert RANGES["24h"].since(NOW) == datetime(2026, 11, 21, 10, 17, 3, tzinfo=UTC)


def test_a_chart_ends_with_the_step_that_is_not_over():
    assert RANGES["7d"].first_step(NOW) == datetime(2026, 11, 16, tzinfo=UTC)
    assert RANGES["24h"].first_step(NOW) == datetime(2026, 11, 21, 11, tzinfo=UTC)
    assert list(RANGES["30d"].starts(NOW))[-1] == datetime(2026, 11, 22, tzinfo=UTC)


@given(moments, st.sampled_from(list(RANGES.values())))
def test_now_lies_in_the_last_step(now, over):
    *_, last = starts = list(over.starts(now))
    assert len(starts) == over.steps
    assert last <= now < last + over.step
    assert over.since(now) < starts[0] <= over.since(now) + over.step


# ── charts ──────────────────────────────────────────────────────────────────────────────────

COUNTS = st.lists(st.none() | st.integers(0, 10**9), min_size=1, max_size=120)


def stacked_of(*columns, **around):
    starts = [NOW + timedelta(days=number) for number in range(len(columns[0]))]
    series = [Series(str(number), f"no. {number}", values) for number, values in enumerate(columns)]
    return stacked("Copies", starts, series, Around(**around))


@given(COUNTS)
def test_columns_stay_within_the_chart_and_keep_their_values(values):
    chart = stacked_of(values, height=160)
    for x, low, wide, high in re.findall(
        r"M([\d.]+) ([\d.]+)h([\d.]+)V([\d.]+)h", chart.shapes[0].path if chart.shapes else ""
    ):
        assert 0 <= float(x) <= float(x) + float(wide) <= WIDTH + 0.1
        assert 0 <= float(high) <= float(low) <= 160.1
    assert [row[1] for row in chart.rows] == [[value] for value in values]
    assert chart.total == sum(value or 0 for value in values)
    assert all(0 <= mark.x <= 100 for mark in chart.labels)


@given(COUNTS)
def test_what_is_not_counted_is_a_gap_in_a_line_and_an_empty_cell(values):
    starts = [NOW + timedelta(days=number) for number in range(len(values))]
    chart = lines("Copies", starts, [Series("1", "One", values), Series("2", "Two", values)], Around())
    path = next((shape.path for shape in chart.shapes), "")
    assert path.count("M") + path.count("L") == sum(value is not None for value in values)
    rows = chart_csv(chart, "copies").text.splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == ["" if value is None else str(value) for value in values]


def test_a_stack_has_its_sums_and_the_comparison_beside_them():
    chart = stacked_of([1, None, 3], [10, 20, 30], before=[5, 6, None], before_text="The week before")
    assert chart.names == ["no. 0", "no. 1", "Total", "The week before"]
    assert [values for _, values in chart.rows] == [[1, 10, 11, 5], [None, 20, 20, 6], [3, 30, 33, None]]
    assert chart.shapes[-1].name == "before"


def test_what_is_lost_hangs_below_the_axis():
    starts = [NOW, NOW + timedelta(days=1)]
    up, down = [Series("new", "New", [4, 2])], [Series("lost", "Lost", [1, 3])]
    chart = diverging("Turned", starts, up, down, Around(height=100))
    new, lost = (re.findall(r"M[\d.]+ ([\d.]+)h[\d.]+V([\d.]+)", shape.path) for shape in chart.shapes)
    assert all(float(low) == chart.zero for low, _ in new)
    assert all(float(high) == chart.zero for _, high in lost)
    assert [values for _, values in chart.rows] == [[4, 1], [2, 3]]


def test_flags_stand_at_the_step_that_holds_their_day():
    flags = [Flag(NOW.date() + timedelta(days=2), "7.4.0"), Flag(NOW.date() - timedelta(days=9), "7.3.9")]
    chart = stacked_of([1, 2, 3, 4], flags=flags)
    assert [(mark.x, mark.text) for mark in chart.flags] == [(62.5, "7.4.0")]


@pytest.mark.parametrize(
    ("highest", "lowest", "values"),
    [
        (0, 0, (0, 1)),
        (1, 0, (0, 1)),
        (3, 0, (0, 1, 2, 3)),
        (7, 0, (0, 2, 4, 6, 8)),
        (144, 0, (0, 50, 100, 150)),
        (1000, 0, (0, 500, 1000)),
        (30, -12, (-20, 0, 20, 40)),
    ],
)
def test_lines_stand_at_round_values(highest, lowest, values):
    assert ticks(highest, lowest) == values


@pytest.mark.parametrize(
    ("value", "shown", "at_the_axis"),
    [
        (0, "0", "0"),
        (99_999, "99,999", "99.999 k"),
        (123_456, "123 k", "123.456 k"),
        (1_500_000, "1.50 M", "1.5 M"),
    ],
)
def test_large_numbers_are_short_and_no_other_numbers(value, shown, at_the_axis):
    assert (short(value), short_tick(value)) == (shown, at_the_axis)


@given(st.integers(0, 10**6), st.none() | st.integers(1, 10**6))
def test_a_bar_of_seats_holds_all_that_are_used(used, seats):
    bar = Seats(used, seats)
    assert bar.within + bar.excess <= 100.1
    assert bar.over == max(0, used - (used if seats is None else seats))


# ── words ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("passed", "shown"), [
    ({"seconds": 3}, "just now"), ({"seconds": -30}, "just now"), ({"minutes": 1}, "1 min ago"), ({"hours": 23}, "23 h ago"),
    ({"days": 40}, "40 d ago"), ({"days": 800}, "2 y ago"), ({"hours": -5}, "in 5 h"),
])  # fmt: skip
def test_moments_are_told_roughly(passed, shown):
    assert formatting.ago(NOW - timedelta(**passed), NOW) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 0, "0 %"), (0, 9, "0 %"), (1, 1000, "< 1 %"), (1, 3, "33 %"), (999, 1000, "99 %"), (9, 9, "100 %")],
)
def test_shares_are_never_rounded_to_nothing_or_to_all(part, whole, shown):
    assert formatting.share(part, whole) == shown


@given(st.text(max_size=300))
def test_inert_text_is_one_short_line_that_steers_nothing(value):
    shown = formatting.inert(value)
    assert all(c.isprintable() or unicodedata.category(c) == "Zs" for c in shown)
    assert len(shown) <= 121


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=100))
def test_plain_text_is_left_as_it_is(value):
    assert formatting.inert(value) == value


def test_countries_have_names_and_other_words_stay():
    assert formatting.country("DE") == "Germany"
    assert formatting.country("unknown") == "unknown"
    assert formatting.country(None) == "unknown"
    assert formatting.country("<b>") == "<b>"


def test_days_are_cut_from_moments_and_other_words_stay():
    assert formatting.day("2027-01-31T00:00:00Z") == "2027-01-31"
    assert formatting.day("soon") == "soon"


def test_ranges_of_numbers_are_told_inclusively():
    assert formatting.numbers([(1, 4), (5, 6), (1000, 2001)]) == "1 to 3, 5, 1,000 to 2,000"


# ── queries ─────────────────────────────────────────────────────────────────────────────────

PARAMETERS = (
    Parameter("limit", "", integer(1, 500, default=50)),
    Parameter("id", "", IDENTIFIER),
    Parameter("since", "", MOMENT),
    Parameter("word", "", text()),
    Parameter("kind", "", one_of("a", "b")),
)


def asked(*pairs):
    return read_query(SimpleNamespace(query=MultiDict(pairs)), PARAMETERS)


@given(st.lists(st.tuples(st.sampled_from(["limit", "id", "since", "word", "kind", "other"]), st.text())))
def test_a_query_is_read_or_refused_and_nothing_else(pairs):
    try:
        values = asked(*pairs)
    except BadRequest:
        values = None
    if values is None:
        return
    assert {name for name, _ in pairs} | {"limit"} == values.keys()
    assert 1 <= values["limit"] <= 500
    assert "\0" not in values.get("word", "")


def test_defaults_are_filled_in_and_types_are_right():
    assert asked() == {"limit": 50}
    values = asked(("since", "2026-11-22T11:00:00 01:00"), ("id", "019AB6EF-F2A0-7C44-8D53-1B6A0F4E7C90"))
    assert values["since"] == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert str(values["id"]) == "019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90"


@given(st.text("0123456789abcdefABCDEF-", min_size=1, max_size=36))
def test_the_beginning_of_an_id_is_a_range_of_ids(prefix):
    low, high = identities(prefix)
    digits = prefix.replace("-", "").lower()[:32]
    assert low.hex.startswith(digits)
    assert high.hex.startswith(digits)
    assert low <= high


def test_every_filter_reaches_the_database():
    values = {"seen": "7d", "new": "7d", "q": "01", "filter": "country=DE", "country": "DE"}
    for parameter in FILTERS:
        value = values.get(parameter.name) or parameter.schema.get("enum", ["64500"])[0]
        asked = filter_from({parameter.name: value}, NOW, within=None)
        assert asked != filter_from({}, NOW, within=None), parameter.name


# ── histories ───────────────────────────────────────────────────────────────────────────────


def ping(sequence, day, state="a", facts=None, features=None):
    import orjson

    return {
        "sequence": sequence,
        "received_at": NOW + timedelta(days=day),
        "state": state,
        "facts": orjson.dumps(facts or {}).decode(),
        "place": "{}",
        "details": '{"reason":"heartbeat"}',
        "features": features,
    }


DAY = timedelta(days=1)


def test_changes_are_told_between_neighbours_only_and_by_their_names():
    rows = [
        ping(3, 3, "b", {"os": {"name": "debian"}, "host": {"fingerprint": {"x": 1}}}),
        ping(2, 2, "b", {"os": {"name": "debian"}, "host": {"fingerprint": {"x": 1}}}),
        ping(1, 1, "a", {"os": {"name": "ubuntu", "version": "22"}}),
    ]
    third, second, first = history.entries(rows, None, DAY)
    assert third.changes == first.changes == ()
    assert [(c.fact, c.before, c.after) for c in second.changes] == [
        ("host.fingerprint.x", None, 1),
        ("os.name", "ubuntu", "debian"),
        ("os.version", "22", None),
    ]


def test_holes_and_silences_are_told():
    [last, *_] = history.entries([ping(9, 20), ping(3, 10)], None, DAY)
    assert last.missing == (4, 9)
    assert last.silence == 10 * DAY
    assert last.hollow == 5
    [usual, *_] = history.entries([ping(4, 2), ping(3, 0)], None, DAY)
    assert (usual.missing, usual.silence, usual.hollow) == (None, None, 0)


def test_a_hole_of_millions_does_not_make_millions_of_marks():
    [last, *_] = history.entries([ping(10**9, 2), ping(3, 0)], None, DAY)
    assert last.hollow < 20


def test_the_ping_before_a_page_is_what_its_last_row_is_compared_with():
    [only] = history.entries([ping(5, 5, "b", {"os": {"name": "x"}})], ping(4, 4), DAY)
    assert [change.fact for change in only.changes] == ["os.name"]


@pytest.mark.parametrize(
    ("style", "written"),
    [
        ("en", "1,234,567.5"),
        ("de", "1.234.567,5"),
        ("fr", "1\u202f234\u202f567,5"),
        ("de-CH", "1\u2019234\u2019567.5"),
    ],
)
def test_numbers_and_times_are_written_as_the_viewer_prefers(style, written):
    with formatting.preferring("America/St_Johns", style):
        assert formatting.number(1_234_567.5) == written
        assert formatting.stamp(NOW) == "2026-11-22 06:47:03 UTC-03:30"
    with formatting.preferring("No/Where", style):
        assert formatting.stamp(NOW) == "2026-11-22 10:17:03 UTC"
    assert formatting.number(1_234) == "1,234"
