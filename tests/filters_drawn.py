"""Filters as Hypothesis draws them: every field with every operator, and values of its kind."""

from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_network

from hypothesis import strategies as st

from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.terms import EXACT, Filter, Term, ValueType
from telemetry_server.text import hidden_in

CHARACTERS = st.characters(exclude_categories=["Cc", "Cs"]).filter(
    lambda one: not hidden_in(one)
) | st.sampled_from("\t\n")
TEXT = st.text(CHARACTERS, max_size=20)
AGES = st.builds(timedelta, minutes=st.integers(0, 200_000))
DAYS = st.dates(date(2024, 1, 1), date(2027, 12, 31))
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))
UUIDS = st.uuids().map(str)
NUMBERS = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))

VALUES = {
    ValueType.TEXT: TEXT,
    ValueType.VERSION: NUMBERS,
    ValueType.TIME: AGES | DAYS | MOMENTS,
    ValueType.TIME_AHEAD: AGES | DAYS | MOMENTS,
    ValueType.NUMBER: st.integers(0, 10**15 - 1),
    ValueType.EMAIL: TEXT.map(str.lower) | st.just("ann@xn--bcher-kva.example"),
    ValueType.LOWER_CASE: TEXT.map(str.lower),
    ValueType.COUNTRY: st.sampled_from(["DE", "FR", "ZZ", "unknown"]),
    ValueType.NETWORK: st.integers(0, 9_999_999_999).map(str) | st.just("unknown"),
    ValueType.PREFIX: UUIDS.flatmap(lambda text: st.integers(1, 36).map(lambda length: text[:length])),
    ValueType.IDENTITY: UUIDS | st.just("none"),
    ValueType.ADDRESS: st.ip_addresses().map(str) | st.just("unknown"),
    ValueType.ADDRESS_RANGE: st.ip_addresses().map(lambda one: str(ip_network(f"{one}/20", strict=False))),
}


@st.composite
def terms(draw, values=None, fields=INSTALLATIONS):
    """`values` gives a strategy for fields by name, in place of those of its kind."""
    field = draw(st.sampled_from(list(fields.values())))
    operator = draw(st.sampled_from(field.operators))
    by_kind = st.sampled_from(field.values) if field.values else VALUES[field.kind]
    strategy = (values or {}).get(field.name, by_kind)
    if operator in EXACT and field.kind in {ValueType.TIME, ValueType.TIME_AHEAD}:
        strategy = strategy.filter(lambda value: not isinstance(value, timedelta))
    most = 3 if operator in EXACT else 1
    return Term(field, operator, tuple(draw(st.lists(strategy, min_size=1, max_size=most))))


def filters(values=None, fields=INSTALLATIONS):
    return st.builds(Filter, st.lists(terms(values, fields), max_size=4).map(tuple))
