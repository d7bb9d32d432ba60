"""Licenses, customers, features and cohorts by every field and operator, against a plain reading of them."""

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from filters_drawn import AGES, DAYS, MOMENTS, filters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry_server.check.filters import filter_fields
from telemetry_server.check.filters.filter_fields import CUSTOMERS, LICENSES
from telemetry_server.check.filters.parser import BadFilter, parse_filter
from telemetry_server.check.filters.terms import Operator, ValueType
from telemetry_server.store import filtering
from telemetry_server.store.filtering import condition
from telemetry_server.store.registry.customers import list_customers
from telemetry_server.store.registry.licenses import list_licenses

pytestmark = pytest.mark.every_postgres

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
OWNERS = [UUID(int=number) for number in (1, 2)]
MOMENTS_THERE = [
    AT,
    AT - timedelta(days=30),
    AT + timedelta(days=30),
    datetime(2026, 11, 1, tzinfo=UTC),
    datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2027, 2, 3, 4, 5, 6, tzinfo=UTC),
]
WORDS = {
    "product": ["billing", "panel", "demo"],
    "order": ["A-1", "A 2", "'; DROP TABLE licenses; --", None],
    "edition": ["pro", "unknown", '"'],
    "hint": ["7Q2K", "0001"],
    "email": ["ann@example.com", "bob@example.com"],
    "name": ["Ann", "Bob", None],
    "company": ["ACME, Inc.", "acme", None],
    "tax_id": ["1", "+49", None],
    "account": ["envato:ann", "envato:bob"],
}
ZONES = {"billing": "UTC", "panel": "Pacific/Auckland", "demo": "America/Sao_Paulo"}


def licenses_made_up(count=120):
    """Licenses as plain dictionaries, by the names of the fields."""
    dice = random.Random(3)
    return [_license(dice, number) for number in range(1, count)]


def _license(dice, number):
    row = {name: dice.choice(WORDS[name]) for name in ("product", "order", "edition", "hint")}
    row |= {name: dice.choice(field.values) for name, field in LICENSES.items() if field.values}
    row["customer"] = dice.choice([None, *OWNERS])
    row["seats"], row["seats_used"] = dice.choice([None, 1, 5]), dice.choice([0, 1, 3, 9])
    row["exceeded"] = "true" if row["seats"] and row["seats_used"] > row["seats"] else "false"
    row["starts"] = dice.choice([None, *MOMENTS_THERE])
    later = [moment for moment in MOMENTS_THERE if row["starts"] is None or moment > row["starts"]]
    row["expires"] = dice.choice([None, *later])
    row["created"], row["updated"] = dice.choice(MOMENTS_THERE), dice.choice(MOMENTS_THERE)
    row["id"] = UUID(int=dice.choice([0x019AB6EF, 0xA]) << 96 | number)
    row["simulated"] = "true" if row["product"] == "demo" else "false"
    return row


def customers_made_up():
    dice = random.Random(5)
    rows = []
    for number, identity in enumerate(OWNERS):
        row = {name: dice.choice(WORDS[name]) for name in ("name", "company", "tax_id")}
        row |= {"created": dice.choice(MOMENTS_THERE), "updated": MOMENTS_THERE[number], "id": identity}
        rows.append(row | {name: WORDS[name][number] for name in ("email", "account")})
    return rows


async def settle(connection, licenses, customers):
    await connection.execute(
        "INSERT INTO products (product_id, slug, name, created_at, simulated, time_zone) "
        "SELECT gen_random_uuid(), slug, slug, now(), slug = 'demo', zone "
        "FROM unnest($1::text[], $2::text[]) AS p (slug, zone)",
        list(ZONES),
        list(ZONES.values()),
    )
    products = dict(await connection.fetch("SELECT slug, product_id FROM products"))
    await connection.executemany(
        "INSERT INTO customers (customer_id, email, name, company, tax_id, account, custom, created_at, updated_at) "
        "VALUES ($1, initcap($2), $3, $4, $5, $6, '{}', $7, $8)",
        [
            tuple(
                row[name]
                for name in ("id", "email", "name", "company", "tax_id", "account", "created", "updated")
            )
            for row in customers
        ],
    )
    await connection.executemany(
        "INSERT INTO licenses (license_id, product_id, customer_id, key_hash, key_hint, status, type, source, order_reference, edition, seats, seats_used, starts_at, expires_at, created_at, updated_at) "
        "VALUES ($1, $2, $3, sha256(uuid_send($1)), $4, $5, $6, nullif($7, 'unknown'), $8, nullif($9, 'unknown'), $10, $11, $12, $13, $14, $15)",
        [
            (
                row["id"],
                products[row["product"]],
                *(row[name] for name in ("customer", "hint", "status", "type", "source", "order", "edition")),
                *(row[name] for name in ("seats", "seats_used", "starts", "expires", "created", "updated")),
            )
            for row in licenses
        ],
    )


# ── what a filter means ─────────────────────────────────────────────────────────────────────


class Day(datetime):
    """A moment with its day in the time zone of its license's product; a license ends with the day before."""

    @classmethod
    def of(cls, moment, row, *, at_its_end):
        found = cls.fromtimestamp(moment.timestamp(), UTC)
        found = found.replace(microsecond=moment.microsecond)
        last = moment - timedelta(microseconds=1) if at_its_end else moment
        found.day_there = last.astimezone(ZoneInfo(ZONES[row["product"]])).date()
        return found

    def date(self):
        return self.day_there


def wants(wanted, row):
    return all(holds(term, row) for term in wanted.terms)


def holds(term, row):
    mine = row[term.field.name]
    if term.field.name in {"starts", "expires"} and mine is not None:
        mine = Day.of(mine, row, at_its_end=term.field.name == "expires")
    if term.operator is Operator.UNEQUAL:
        return not any(equals(term.field, mine, value) for value in term.values)
    if term.operator is Operator.EQUAL:
        return any(equals(term.field, mine, value) for value in term.values)
    [value] = term.values
    if mine is None:
        return False
    if isinstance(value, timedelta):
        mine = mine - AT if term.field.kind is ValueType.TIME_AHEAD else AT - mine
    elif isinstance(value, date) and not isinstance(value, datetime):
        mine = mine.date()
    return {"<": mine < value, "<=": mine <= value, ">": mine > value, ">=": mine >= value}[term.operator]


def equals(field, mine, value):
    if mine is None or value == "none":
        return mine is None and value == "none" and field.kind in {ValueType.IDENTITY, ValueType.TIME_AHEAD}
    match field.kind:
        case ValueType.PREFIX:
            return mine.hex.startswith(value.replace("-", ""))
        case ValueType.IDENTITY:
            return str(mine) == value
        case ValueType.TIME | ValueType.TIME_AHEAD:
            return mine == value if isinstance(value, datetime) else mine.date() == value
    return mine == value


# ── the tests ───────────────────────────────────────────────────────────────────────────────

_TIMES = (
    st.sampled_from(MOMENTS_THERE) | st.sampled_from(MOMENTS_THERE).map(datetime.date) | AGES | DAYS | MOMENTS
)
VALUES = {
    name: st.sampled_from([value for value in values if value is not None]) for name, values in WORDS.items()
} | {
    "customer": st.sampled_from(["none", *map(str, OWNERS), str(UUID(int=3))]),
    "id": st.sampled_from(["0", "019ab6", "019ab6ef-0000-0000-0000-00000000004", "f", "a"]),
    "seats": st.integers(0, 6),
    "seats_used": st.integers(0, 10),
    **dict.fromkeys(("starts", "expires", "created", "updated"), _TIMES),
}
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)


class Registry:
    """The made-up registry in a database; runs what it is asked to the end."""

    def __init__(self, runner, connection):
        self.runner, self.connection = runner, connection
        self.licenses, self.customers = licenses_made_up(), customers_made_up()

    def listed(self, list_, wanted):
        return self.runner.run(list_(self.connection, wanted, now=AT, limit=1_000))


@pytest.fixture(scope="module")
def registry(cluster, template):
    with asyncio.Runner() as runner:
        runner.run(cluster.copy(template, "filtering_registry"))
        connection = runner.run(asyncpg.connect(cluster.dsn("filtering_registry")))
        found = Registry(runner, connection)
        runner.run(settle(connection, found.licenses, found.customers))
        yield found
        runner.run(connection.close())
        runner.run(cluster.drop("filtering_registry"))


@SHARED
@given(wanted=filters(VALUES, LICENSES))
def test_a_filter_of_licenses_finds_what_it_means(registry, wanted):
    expected = {row["id"] for row in registry.licenses if wants(wanted, row)}
    assert {found.license_id for found in registry.listed(list_licenses, wanted)} == expected


@SHARED
@given(wanted=filters(VALUES, CUSTOMERS))
def test_a_filter_of_customers_finds_what_it_means(registry, wanted):
    expected = {row["id"] for row in registry.customers if wants(wanted, row)}
    assert {found.customer_id for found in registry.listed(list_customers, wanted)} == expected


@pytest.mark.parametrize("name", LICENSES)
def test_every_operator_of_every_field_splits_the_licenses(registry, name):
    """The made-up licenses have some that a term wants and some that it doesn't, or the test above says little."""
    field = LICENSES[name]
    there = {row[name] for row in registry.licenses}
    for operator in field.operators:
        tried = field.values or _tried(field, there)
        wanted = [
            parse_filter(f'{name}{operator}"{value}"'.replace('"""', '"\\""'), LICENSES) for value in tried
        ]
        sizes = [len(registry.listed(list_licenses, each)) for each in wanted]
        assert any(0 < size < len(registry.licenses) for size in sizes), (name, operator, sizes)


def _tried(field, there):
    match field.kind:
        case ValueType.TIME | ValueType.TIME_AHEAD:
            return ["2026-11-01", "2026-11-01T00:00:00Z"]
        case ValueType.PREFIX:
            return ["019ab6ef"]
    return [value for value in there if value is not None]


@pytest.mark.parametrize("of", ["LICENSES", "CUSTOMERS", "FEATURES", "COHORTS"])
def test_every_field_has_a_column(of):
    assert getattr(filtering, of).keys() == getattr(filter_fields, of).keys()


async def test_a_misspelt_product_is_told_whatever_is_asked_for(connection):
    for of in ("LICENSES", "FEATURES", "COHORTS"):
        wanted = parse_filter("product=biling", getattr(filter_fields, of))
        with pytest.raises(BadFilter, match="There is no product biling"):
            await condition(connection, wanted, getattr(filtering, of), now=AT, first=1)
