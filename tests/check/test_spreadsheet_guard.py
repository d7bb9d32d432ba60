"""Text in a spreadsheet: never a formula, whoever wrote it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.check.licenses.rows import guarded, unguarded

STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "\uff1d", "\uff0b", "\uff0d", "\uff20", "|")


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1+2",
        "@SUM(A1)",
        " =cmd|' /C calc'!A0",
        '"=1+1"',
        "\ufeff=1",
        "\t=1",
        "\uff1d1+1",
        "\n",
        '"\n',
    ],
)
def test_text_that_a_spreadsheet_would_run_gets_a_quote_in_front(text):
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize("text", ["debian", "6.1.0-31-amd64", "codecanyon", "", "a=b", "é"])
def test_other_text_stays_as_it_is(text):
    assert guarded(text) == text


@given(st.text())
def test_no_text_begins_a_formula(text):
    assert not guarded(text).lstrip(' "\ufeff').startswith(STARTS_A_FORMULA)


@pytest.mark.parametrize(
    ("text", "told"),
    [("a;=1", "a;'=1"), ("a;\t+1;b", "a;'\t+1;b"), ("=1;;@x", "'=1;;'@x"), ("a;b=1", "a;b=1")],
)
def test_text_that_lists_split_by_semicolons_would_run_is_guarded_within(text, told):
    assert guarded(text) == told


@given(st.text(st.sampled_from("a;=+-@|'\" ")))
def test_no_text_hides_a_formula_after_a_semicolon_and_each_reads_back(text):
    assert not any(
        part.lstrip(' \t\n"').startswith(("=", "+", "-", "@", "|")) for part in guarded(text).split(";")
    )
    assert unguarded(guarded(text)) == text
