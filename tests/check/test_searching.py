"""What a searched text may mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.check.searching import SHORTEST, Meaning, readings

ID = "019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90"


@pytest.mark.parametrize(
    ("text", "meaning", "canonical"),
    [
        (ID.upper(), Meaning.ID, ID),
        (ID.replace("-", ""), Meaning.ID, ID),
        ("019ab6ef-f2", Meaning.BEGINNING_OF_ID, "019ab6ef-f2"),
        ("Ann@Example.com", Meaning.EMAIL, "ann@example.com"),
        ("242.55.119.235", Meaning.ADDRESS, "242.55.119.235"),
        ("2001:DB8::0:7", Meaning.ADDRESS, "2001:db8::7"),
        ("192.0.2.7/24", Meaning.NETWORK, "192.0.2.0/24"),
        ("as24940", Meaning.OPERATOR_NUMBER, "24940"),
        ("7.4.2", Meaning.VERSION, "7.4.2"),
        ("7.4.*", Meaning.VERSION, "7.4.*"),
        ("revoked", Meaning.VALUE, "revoked"),
        ("unknown key", Meaning.VALUE, "unknown key"),
        ("DE", Meaning.VALUE, "DE"),
        ("verdict:revoked", Meaning.FILTER, "verdict=revoked"),
        ("version>=7.4 country=DE", Meaning.FILTER, "version>=7.4 country=DE"),
        ("mail.example.com", Meaning.HOSTNAME, "mail.example.com"),
        ("7Q2M", Meaning.KEY_HINT, "7Q2M"),
        ("Example Hosting", Meaning.WORDS, "Example Hosting"),
    ],
)
def test_a_text_is_taken_for_what_it_looks_like(text, meaning, canonical):
    first = readings(f"  {text} ")[0]
    assert (first.meaning, first.text) == (meaning, canonical)


def test_four_hexadecimal_digits_are_an_id_and_the_end_of_a_key():
    assert {one.meaning for one in readings("0046")} >= {Meaning.BEGINNING_OF_ID, Meaning.KEY_HINT}


def test_a_value_is_that_of_every_field_that_has_it():
    [value, *_] = readings("trial")
    assert set(value.terms) == {"verdict=trial", "status=trial", "source=trial"}


@given(st.text(max_size=300))
def test_every_text_has_a_meaning_and_each_filter_is_one(text):
    found = readings(text)
    assert bool(found) == (len(" ".join(text.split())) >= SHORTEST)
    for one in found:
        if one.meaning is Meaning.FILTER:
            assert str(parse_filter(one.text)) == one.text
        for term in one.terms:
            assert parse_filter(term).terms
