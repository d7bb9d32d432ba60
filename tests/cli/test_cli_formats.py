"""Rows as text."""

import csv
import io
import json
from datetime import UTC, datetime
from ipaddress import ip_address
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.check.rows import unguarded
from telemetry_server.cli.formats import Format, cell, head, writer

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
    ],
)
def test_text_that_a_spreadsheet_would_run_gets_a_quote_in_front(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["debian", "6.1.0-31-amd64", "codecanyon", "", "a=b", "é"])
def test_other_text_stays_as_it_is(text):
    assert cell(text) == text


@given(st.text())
def test_no_text_begins_a_formula(text):
    assert not cell(text).lstrip(' "\ufeff').startswith(STARTS_A_FORMULA)


@pytest.mark.parametrize(
    ("text", "told"),
    [("a;=1", "a;'=1"), ("a;\t+1;b", "a;'\t+1;b"), ("=1;;@x", "'=1;;'@x"), ("a;b=1", "a;b=1")],
)
def test_text_that_lists_split_by_semicolons_would_run_is_guarded_within(text, told):
    assert cell(text) == told


@given(st.text(st.sampled_from("a;=+-@|'\" ")))
def test_no_text_hides_a_formula_after_a_semicolon_and_each_reads_back(text):
    assert not any(
        part.lstrip(' \t\n"').startswith(("=", "+", "-", "@", "|")) for part in cell(text).split(";")
    )
    assert unguarded(cell(text)) == text


def test_values_have_one_form_each():
    values = [None, True, -3, datetime(2026, 11, 22, 10, tzinfo=UTC), ip_address("192.0.2.1"), UUID(int=1)]
    assert [cell(value) for value in values] == [
        "",
        "true",
        "-3",
        "2026-11-22T10:00:00Z",
        "192.0.2.1",
        "00000000-0000-0000-0000-000000000001",
    ]


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"])), min_size=1, max_size=5))
def test_csv_reads_back_cell_by_cell(texts):
    row = dict(enumerate(texts))
    line = writer(Format.CSV, frozenset())(row).decode()
    [read] = csv.reader(io.StringIO(line, newline=""))
    assert read == [cell(text) for text in texts]


def test_ndjson_nests_what_is_json_already():
    row = {"facts": '{"os": {"name": "debian"}}', "features": None, "at": datetime(2026, 1, 1, tzinfo=UTC)}
    line = writer(Format.NDJSON, frozenset({"facts", "features"}))(row)
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "facts": {"os": {"name": "debian"}},
        "features": None,
        "at": "2026-01-01T00:00:00Z",
    }


def test_only_csv_has_a_head():
    assert head(Format.CSV, ("a", "b")) == b'"a","b"\r\n'
    assert head(Format.NDJSON, ("a", "b")) == b""
