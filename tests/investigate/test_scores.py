"""The score by hand, and the figures by hand."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from telemetry_server.investigate.measuring import Case, Finding, Truth, TruthEntry, measure, wilson
from telemetry_server.investigate.score import (
    Found,
    Scale,
    Tally,
    naive_bayes,
    points,
    read_ratios,
    shipped_ratios,
    write_ratios,
)

DAY = timedelta(days=1)
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
RATIOS = read_ratios(
    """
    [patterns.key]
    nothing = [7, 997]
    unknown = [15, 1]
    "revoked+unknown" = [7, 0]
    [patterns.time]
    nothing = [29, 998]
    [days."revoked+unknown"]
    "below 3" = [0, 1]
    "30 or more" = [22, 0]
    [customers.unknown]
    "1" = [20, 0]
    "more than 100" = [1, 1]
    """
)


def found(rule, days=40, customers=None):
    return Found(rule, "key", days * DAY, customers)


def test_a_pattern_has_one_ratio_and_the_days_are_a_factor_of_their_own():
    score = Scale(RATIOS, 0.01).score([found("unknown"), found("revoked")])
    pattern = math.log2((8 / 32) / (1 / 1001))
    days = math.log2(((22 + 22 / 23) / 23) / ((0 + 22 / 23) / 2))
    nothing = math.log2((30 / 30) / (999 / 999))
    steps = {step.what: step.log2 for step in score.steps}
    assert steps == pytest.approx(
        {
            "key: revoked+unknown": pattern,
            "revoked+unknown: held for 30 or more days": days,
            "time: nothing": nothing,
        }
    )
    odds = 0.01 / 0.99 * 2 ** (pattern + days + nothing)
    assert score.share == pytest.approx(odds / (1 + odds))
    assert score.waterfall["sum"] == pytest.approx(math.log2(odds), abs=0.01)


def test_a_pattern_that_was_never_counted_has_the_ratio_of_its_largest_part():
    scale = Scale(RATIOS, 0.01)
    alone = scale.score([found("unknown")])
    assert scale.score([found("unknown"), found("unheard")]).share == alone.share
    assert scale.score([found("unheard")]).share == scale.score([]).share < 0.01


def test_what_many_customers_share_says_less():
    scale = Scale(RATIOS, 0.01)
    shares = [scale.score([found("unknown", customers=each)]).share for each in (1, 1000)]
    assert shares[0] > shares[1]


def test_a_score_rises_with_the_base_rate():
    shares = [Scale(RATIOS, rate).score([found("unknown")]).share for rate in (0.001, 0.003, 0.01)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_counts_become_ratios_and_a_file_and_ratios_again():
    tally = Tally(("key", "time"))
    tally.add([found("unknown")], is_misuse=True)
    tally.add([], is_misuse=False, times=9)
    ratios = tally.ratios()
    assert read_ratios(write_ratios(ratios, "A note\nof two lines")) == ratios
    assert ratios.patterns["key"]["nothing"] == (0, 9)
    more = Tally(("key", "time"))
    more.add_counts(ratios)
    more.add([], is_misuse=False)
    assert more.ratios().patterns["key"] == {"nothing": (0, 10), "unknown": (1, 0)}
    assert ratios.patterns["time"]["nothing"] == (1, 9)


def test_the_ratios_of_this_package_are_for_its_rules():
    from telemetry_server.investigate.rule_files import shipped_rules

    rules = {rule.name: rule.family for rule in shipped_rules()}
    for family, table in shipped_ratios().patterns.items():
        for name in set("+".join(table).split("+")) - {"nothing"}:
            assert rules[name] == family


def test_the_other_formulas():
    assert points([0.5, 0.7]) == 1
    low, high = naive_bayes([], RATIOS, 0.01), naive_bayes([found("unknown")], RATIOS, 0.01)
    assert 0 < low < 0.01 < high < 1


def test_bounds_are_those_of_wilson():
    assert wilson(0, 0) == {"true": 0, "of": 0, "share": None, "low": 0.0, "high": 1.0}
    assert wilson(9, 10) == {"true": 9, "of": 10, "share": 0.9, "low": 0.5958, "high": 0.9821}
    assert wilson(10, 10)["low"] == pytest.approx(0.7225, abs=1e-4)


def test_figures_count_what_is_found_missed_and_wrongly_accused():
    def entry(story, days, *ids):
        return TruthEntry(story=story, begins_at=BEGIN, days=days, installations=frozenset(ids))

    truth = Truth(
        misuse=[entry("live_clone", 40, "a", "b"), entry("forum", 40, "c"), entry("forum", 5, "d")],
        honest=[entry("golden_image", 40, "x")],
    )
    findings = [
        Finding(rule="live_clone", installations=frozenset("ab"), seen_at=BEGIN + 6 * DAY),
        Finding(rule="live_clone", installations=frozenset("x"), seen_at=BEGIN),
        Finding(rule="other", installations=frozenset("c"), seen_at=None),
    ]
    cases = [
        Case(case_id="1", score=0.95, installations=frozenset("ab")),
        Case(case_id="2", score=0.92, installations=frozenset("x")),
        Case(case_id="3", score=0.2, installations=frozenset("c")),
    ]
    figures = measure(truth, findings, {"one": cases, "other": cases}, 2 * DAY)
    assert figures["rules"]["live_clone"]["false_by_story"] == {"golden_image": 1}
    assert figures["rules"]["live_clone"]["found_by_story"] == {"live_clone": 1}
    of_cases = figures["cases"]
    assert (of_cases["true_positives"], of_cases["false_positives"]) == (1, 1)
    assert (of_cases["recall"]["true"], of_cases["recall"]["of"]) == (1, 3)
    assert (of_cases["recall_of_lasting"]["true"], of_cases["recall_of_lasting"]["of"]) == (1, 2)
    assert (of_cases["recall_in_queue"]["true"], of_cases["precision_of_first"]["true"]) == (2, 2)
    assert of_cases["missed_by_story"] == {"forum": 2}
    assert of_cases["missed_lasting_by_story"] == {"forum": 1}
    assert of_cases["false_by_story"] == {"golden_image": 1}
    assert of_cases["calibration_error"] == pytest.approx((2 * abs(0.935 - 0.5) + abs(0.2 - 1)) / 3, abs=1e-3)
    assert (figures["live_clone"]["median_days"], figures["live_clone"]["median_intervals"]) == (6, 3)
