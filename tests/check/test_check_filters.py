"""The filter language: what is read, what is printed, and what is said of the rest."""

from datetime import UTC, date, datetime, timedelta

import pytest
from filters_drawn import filters
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.check.filters.filter_fields import COHORTS, CUSTOMERS, FEATURES, INSTALLATIONS, LICENSES
from telemetry_server.check.filters.parser import (
    LONGEST_FILTER,
    MOST_TERMS,
    BadFilter,
    parse_filter,
    parse_value,
    version_key,
)
from telemetry_server.check.filters.terms import Filter, Operator, term


def one(text):
    [only] = parse_filter(text).terms
    return only


@given(filters())
def test_what_is_printed_reads_back_the_same(wanted):
    assert parse_filter(str(wanted)) == wanted


@given(
    st.text()
    | st.lists(
        st.sampled_from([*INSTALLATIONS, *Operator, ",", " ", '"', "\\", "7.2", "30d", "DE", "x"])
    ).map("".join)
)
def test_any_text_is_read_or_refused(text):
    try:
        wanted = parse_filter(text)
    except BadFilter as error:
        assert error.status == 400
        assert error.exit_code == 2
    else:
        assert parse_filter(str(wanted)) == wanted


def test_nothing_asks_for_everything():
    assert parse_filter("") == parse_filter(" \t\n") == Filter()
    assert str(Filter()) == ""


def test_terms_come_in_their_order():
    text = "verdict=unknown_key country=DE,FR version>=7.2 last_seen<30d"
    wanted = parse_filter(f"  {text}\n")
    assert [t.field.name for t in wanted.terms] == ["verdict", "country", "version", "last_seen"]
    assert str(wanted) == text
    assert wanted.fields == {"verdict", "country", "version", "last_seen"}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("country=de,Unknown", ("DE", "unknown")),
        ("asn=AS64500,64501,unknown", ("64500", "64501", "unknown")),
        ("verdict=VALID", ("valid",)),
        ("Verdict=valid", ("valid",)),
        ("hosting=unknown", ("unknown",)),
        ("id=019AB6EF-f2", ("019ab6ef-f2",)),
        ("license=none", ("none",)),
        ("license=019AB6EF-F2A0-7C44-8D53-1B6A0F4E7C90", ("019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90",)),
        ('os="red hat, inc.","say \\"hi\\" \\\\",plain', ("red hat, inc.", 'say "hi" \\', "plain")),
        ('os=""', ("",)),
        ("os=Debian", ("debian",)),
        ("os=a=b", ("a=b",)),
        ("version=7.2-rc1", ("7.2-rc1",)),
        ("last_seen<90min", (timedelta(minutes=90),)),
        ("last_seen<12h", (timedelta(hours=12),)),
        ("last_seen>2w", (timedelta(days=14),)),
        ("last_seen=2026-11-22", (date(2026, 11, 22),)),
        ("first_seen>=2026-11-22T10:00:00Z", (datetime(2026, 11, 22, 10, tzinfo=UTC),)),
        ("first_seen>=2026-11-22T10:00", (datetime(2026, 11, 22, 10, tzinfo=UTC),)),
        ("first_seen>=2026-11-22T10:00:00+02:00", (datetime(2026, 11, 22, 8, tzinfo=UTC),)),
    ],
)  # fmt: skip
def test_values_are_read_as_their_field_asks(text, values):
    assert one(text).values == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("contry=DE", ["At character 1", "there is no field 'contry'", "did you mean country?", "asn"]),
        ("country=DE contry=FR", ["At character 12", "'contry=FR'"]),
        ("country = DE", ["after country comes = or !=", "no white space"]),
        ("country:DE", ["after country comes = or !="]),
        ("country", ["after country comes = or !="]),
        ("country>DE", ["country is compared with = or !="]),
        ("country=", ["At the end", "a value is missing"]),
        ("country=DE,", ["a value is missing"]),
        ("country=Germany", ["a country is two letters, like DE, or unknown"]),
        ("verdict=unknwon_key", ["did you mean unknown_key?", "over_seats"]),
        ("hosting=yes", ["hosting is true, false or unknown"]),
        ("last_seen=30d", ["last_seen<30d is less than 30 days ago"]),
        ("last_seen<30", ["a span, like 30d, 12h or 90min, a date, like 2026-11-22"]),
        ("last_seen<2026-02-30", ["a date, like 2026-11-22"]),
        ("last_seen<1066-10-14", ["a date, like 2026-11-22"]),
        ("last_seen<9998-12-31T23:59:59-23:59", ["a date, like 2026-11-22"]),
        ("last_seen<999999w", ["a span may be 36500 days"]),
        ("last_seen<1d,2d", ["< takes one value"]),
        ("version>new", ["> takes a version that begins with a number"]),
        ("asn=Hetzner", ["a network operator is a number"]),
        ("id=xyz", ["0 to 9, a to f"]),
        ("license=1234", ["named by its whole id, or is none"]),
        ('os="red hat', ["At character 4", "the quotation mark has no partner"]),
        ('os=red"hat"', ["At character 7", "a value is quoted whole or not at all"]),
        ('os="red"hat', ["At character 9", "white space stands between terms"]),
        ("=DE", ["a term begins with a field"]),
        ("os=a\0b", ["At character 5", "this character can be in no value"]),
        ("os=\ud800", ["this character can be in no value"]),
        ("x" * (LONGEST_FILTER + 1), ["2,000 characters long; this one has 2,001"]),
        ("os=a " * (MOST_TERMS + 1), ["may have 50 terms", "country=DE,FR"]),
    ],
)  # fmt: skip
def test_an_error_says_what_is_wrong_where_and_what_is_possible(text, said):
    with pytest.raises(BadFilter) as refused:
        parse_filter(text)
    for words in said:
        assert words in refused.value.detail


def test_as_many_terms_as_may_be_are_read():
    assert len(parse_filter("os=a " * MOST_TERMS).terms) == MOST_TERMS


def test_filters_are_put_together():
    assert (
        str(term(INSTALLATIONS["os"], "=", "red hat") + parse_filter("country!=DE"))
        == 'os="red hat" country!=DE'
    )


ALL_FIELDS = [INSTALLATIONS, LICENSES, CUSTOMERS, FEATURES, COHORTS]


@pytest.mark.parametrize("fields", ALL_FIELDS)
def test_every_field_says_what_it_is(fields):
    assert [field.name for field in fields.values() if not field.text.endswith(".")] == []


@pytest.mark.parametrize(
    ("text", "fields", "values"),
    [
        ("expires<30d", LICENSES, (timedelta(days=30),)),
        ("seats>=010", LICENSES, (10,)),
        ("seats!=1,2", LICENSES, (1, 2)),
        ("customer=none", LICENSES, ("none",)),
        ("expires!=None", LICENSES, ("none",)),
        ("email=Ann@Example.com", CUSTOMERS, ("ann@example.com",)),
        ("feature=invoice.sent,user.new", FEATURES, ("invoice.sent", "user.new")),
    ],
)  # fmt: skip
def test_others_than_installations_have_fields_of_their_own(text, fields, values):
    [term] = parse_filter(text, fields).terms
    assert term.values == values
    assert parse_filter(str(term), fields).terms == (term,)


@pytest.mark.parametrize(
    ("text", "fields", "said"),
    [
        ("verdict=valid", LICENSES, ["no field 'verdict'", "The fields are product, status, type"]),
        ("expires=30d", LICENSES, ["expires<30d is less than 30 days ahead"]),
        ("seats=many", LICENSES, ["seats is compared with a number, like 5"]),
        ("seats>1e3", LICENSES, ["seats is compared with a number"]),
        ("status=Lapsed", LICENSES, ["status is active, suspended, revoked or refunded"]),
        ("customer=ann", LICENSES, ["a customer is named by its whole id, or is none"]),
        ("country=DE", COHORTS, ["no field 'country'", "The fields are product, simulated."]),
    ],
)  # fmt: skip
def test_an_error_names_the_fields_there_are(text, fields, said):
    with pytest.raises(BadFilter) as refused:
        parse_filter(text, fields)
    for words in said:
        assert words in refused.value.detail


@pytest.mark.parametrize(("name", "text"), [("license", "1234"), ("os", "a\0b"), ("verdict", "fine")])
def test_a_value_on_its_own_is_read_as_strictly(name, text):
    with pytest.raises(BadFilter):
        parse_value(INSTALLATIONS[name], text)


def test_a_value_on_its_own_needs_no_quotation_marks():
    assert parse_value(INSTALLATIONS["os"], 'red "hat", inc.') == term(
        INSTALLATIONS["os"], "=", 'red "hat", inc.'
    )
    assert parse_value(INSTALLATIONS["country"], "de") == term(INSTALLATIONS["country"], "=", "DE")


@pytest.mark.parametrize(
    ("version", "key"),
    [("7.10", (7, 10)), ("v7.2.0-rc1", (7, 2, 0)), ("7.", (7,)), ("seven", None), ("", None), ("\u0667", None)],
)  # fmt: skip
def test_versions_have_numbers(version, key):
    assert version_key(version) == key
