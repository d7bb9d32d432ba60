"""Every field with every operator, on a real database, against a plain reading of what it means."""

import asyncio
import json
import random
import re
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_network
from uuid import UUID, uuid4

import asyncpg
import pytest
from filters_drawn import AGES, DAYS, MOMENTS, filters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry_server.check.fields import load_registry
from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.check.filters.terms import EXACT, Operator, ValueType
from telemetry_server.store.dimensions import BY_NAME, DIMENSIONS
from telemetry_server.store.filtering import NOW, THEN, VERSION_NUMBERS, NotThen, condition
from telemetry_server.store.queries import fill

pytestmark = pytest.mark.every_postgres

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = date(2026, 11, 20)

WORDS = {
    "product": ["billing", "panel", "demo"],
    "version": ["7.2", "7.2.0", "7.10", "v7.9-rc1", "6", "seven", "unknown"],
    "edition": ["starter", "red hat, inc.", "unknown", '"'],
    "environment": ["production", "staging", "unknown"],
    "os": ["debian", "ubuntu", "unknown", "'; DROP TABLE pings; --"],
    "vm": ["kvm", "none", "unknown"],
    "container": ["docker", "none", "unknown"],
    "cloud": ["aws", "none", "unknown"],
    "country": ["DE", "FR", "unknown"],
    "asn": ["64500", "64501", "unknown"],
}
PLAIN = {
    one.name: ["this", "that", "unknown"]
    for one in DIMENSIONS
    if one.name not in WORDS and not INSTALLATIONS[one.name].values
}
"""Dimensions with no rule of their own."""
WORDS |= PLAIN
FIELDS = {path.replace(".", "_"): path for path in load_registry().fields}
ADDRESSES = ["192.0.2.7", "192.0.2.9", "198.51.100.0/24", "2001:db8::7", None]
NETWORKS = ["192.0.2.0/24", "192.0.2.8/29", "198.51.0.0/16", "2001:db8::/32", "203.0.113.0/24"]
LICENSES = [UUID(int=number) for number in (1, 2)]
MOMENTS_SEEN = [
    AT,
    AT - timedelta(days=30),
    AT - timedelta(minutes=1),
    datetime(2026, 11, 1, tzinfo=UTC),
    datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2025, 2, 3, 4, 5, 6, tzinfo=UTC),
]


# ── the fleet ───────────────────────────────────────────────────────────────────────────────


def made_up(count=150):
    """Installations as plain dictionaries, by the names of the fields."""
    dice = random.Random(7)
    return [one(dice, number) for number in range(count)]


def one(dice, number):
    row = {name: dice.choice(values) for name, values in WORDS.items()}
    row |= {name: dice.choice(field.values) for name, field in INSTALLATIONS.items() if field.values}
    row["id"] = UUID(int=dice.choice([0x019AB6EF, 0x019AB6FF, 0xA]) << 96 | number)
    row["license"] = dice.choice([None, *LICENSES])
    row["first_seen"], row["last_seen"] = dice.choice(MOMENTS_SEEN), dice.choice(MOMENTS_SEEN)
    row["life_since"] = dice.choice(MOMENTS_SEEN)
    row["address"] = row["network"] = dice.choice(ADDRESSES)
    row["attention"] = {name for name in INSTALLATIONS["attention"].values if dice.random() < 0.3}
    row["simulated"] = "true" if row["product"] == "demo" else "false"
    if "unknown" in {row["vm"], row["container"], row["cloud"]}:  # a copy tells all three or none
        row |= dict.fromkeys(("vm", "container", "cloud"), "unknown")
    return row


async def settle(connection, rows):
    await connection.execute(
        "INSERT INTO products (product_id, slug, name, created_at, simulated) "
        "SELECT gen_random_uuid(), slug, slug, now(), slug = 'demo' FROM unnest($1::text[]) AS slug",
        WORDS["product"],
    )
    products = dict(await connection.fetch("SELECT slug, product_id FROM products"))
    for row in rows:
        await _settle_one(connection, row, products[row["product"]])


async def _settle_one(connection, row, product):
    received = "{[1,3),[5,9)}" if "missing" in row["attention"] else "{[1,9)}"
    await connection.execute(
        "INSERT INTO installations (installation_id, product_id, received, received_before, lost, first_received_at, last_received_at, last_sequence, last_occurred_at, state, client_address) "
        "VALUES ($1, $2, $3::text::int8multirange, '{}', $4, $5, $6, 8, $6, $7, $8::text::inet)",
        *(
            row["id"],
            product,
            received,
            2 * ("lost" in row["attention"]),
            row["first_seen"],
            row["last_seen"],
        ),
        *(b"s" * 16, row["address"]),
    )
    await connection.execute(
        "INSERT INTO installation_facts (installation_id, product_id, first_received_at, license_id, version_key, judged_at, life_since, due_at, "
        f"{', '.join(one.column for one in DIMENSIONS)}) "
        f"VALUES ($1, $2, $3, $4, version_key($5), now(), $6, now(), {', '.join(f'${number}' for number in range(7, 7 + len(DIMENSIONS)))})",
        *(row["id"], product, row["first_seen"], row["license"], row["version"], row["life_since"]),
        *(_flag(row[one.name]) if one.flag else row[one.name] for one in DIMENSIONS),
    )
    await connection.execute(
        "INSERT INTO states (installation_id, state, first_received_at, license_status, license_source, facts, place) VALUES ($1, $2, now(), $3, $4, $5, $6)",
        *(row["id"], b"s" * 16, row["status"], _told(row["source"]), json.dumps(_facts(row)), _place(row)),
    )
    await connection.execute(
        "INSERT INTO installation_days (day, installation_id, product_id, state, verdict, claim_mismatch, source_mismatch, pings) VALUES ($1, $2, $3, $4, $5, $6, $7, 1)",
        *(DAY, row["id"], product, b"s" * 16, row["verdict"]),
        *(_flag(row["claim_mismatch"]), _flag(row["source_mismatch"])),
    )
    if "forked" in row["attention"]:
        await connection.execute(
            "INSERT INTO forks VALUES ($1, 1, $2, $3, now(), now(), NULL, '{}', '{}', '{}')",
            *(row["id"], UUID(int=8), UUID(int=9)),
        )


def _flag(text):
    return {"true": True, "false": False, "unknown": None}[text]


def _told(text):
    return None if text == "unknown" else text


def _facts(row):
    facts = {
        "license": {"edition": _told(row["edition"])},
        "service": {"version": _told(row["version"]), "environment": _told(row["environment"])},
        "os": {"name": _told(row["os"])},
    }
    virtualization = {
        name: row[name] if row[name] != "none" else None for name in ("vm", "container", "cloud")
    }
    for name in PLAIN:
        section, field = FIELDS[re.search(r"s\.(\w+)", BY_NAME[name].state)[1]].split(".")
        facts.setdefault(section, {})[field] = _told(row[name])
    return facts | ({"virtualization": virtualization} if row["vm"] != "unknown" else {})


def _place(row):
    known = {"country": _told(row["country"]), "asn": _told(row["asn"]), "hosting": _flag(row["hosting"])}
    return json.dumps({name: value for name, value in known.items() if value is not None})


# ── what a filter means ─────────────────────────────────────────────────────────────────────


def wants(wanted, row):
    return all(holds(term, row) for term in wanted.terms)


def holds(term, row):
    if term.operator is Operator.UNEQUAL:
        return not any(equals(term.field, row, value) for value in term.values)
    if term.operator is Operator.EQUAL:
        return any(equals(term.field, row, value) for value in term.values)
    [value] = term.values
    if term.field.kind is ValueType.VERSION:
        mine = numbers(row["version"])
        return mine is not None and compares(term.operator, mine, numbers(value))
    mine = row[term.field.name]
    if isinstance(value, timedelta):
        return compares(term.operator, AT - mine, value)
    if isinstance(value, datetime):
        return compares(term.operator, mine, value)
    return compares(term.operator, mine.date(), value)


def equals(field, row, value):
    mine = row[field.name]
    match field.kind:
        case ValueType.PREFIX:
            return mine.hex.startswith(value.replace("-", ""))
        case ValueType.IDENTITY:
            return (str(mine) if mine else "none") == value
        case ValueType.TIME:
            return mine == value if isinstance(value, datetime) else mine.date() == value
        case ValueType.VERSION if value.endswith(".*"):
            own, wanted = numbers(mine), numbers(value)
            return own is not None and own[: len(wanted)] == wanted
        case ValueType.VERSION if value.endswith("*"):
            return mine.startswith(value[:-1])
        case ValueType.ADDRESS:
            return (mine or "unknown") == value
        case ValueType.ADDRESS_RANGE:
            inside = mine and ip_network(mine)
            return (
                bool(inside)
                and inside.version == ip_network(value).version
                and inside.subnet_of(ip_network(value))
            )
    return value in mine if field.name == "attention" else mine == value


def compares(operator, mine, other):
    return {"<": mine < other, "<=": mine <= other, ">": mine > other, ">=": mine >= other}[operator]


def numbers(version):
    found = re.match(r"v?(\d+(\.\d+)*)", version)
    return [int(part) for part in found[1].split(".")] if found else None


# ── the tests ───────────────────────────────────────────────────────────────────────────────

VALUES = {name: st.sampled_from(values) for name, values in WORDS.items()} | {
    "license": st.sampled_from(["none", *map(str, LICENSES), str(UUID(int=3))]),
    "id": st.sampled_from(["0", "019ab6", "019ab6e", "019ab6ef-0000-0000-0000-00000000004", "f", "a"]),
    "first_seen": st.sampled_from(MOMENTS_SEEN) | AGES | DAYS | MOMENTS,
    "last_seen": st.sampled_from(MOMENTS_SEEN).map(lambda moment: moment.date()) | AGES | MOMENTS,
}
VALUES["version"] = VALUES["version"] | st.sampled_from(["7.2.1", "7.*", "7.2.*", "v7.9.*", "8.*", "s*"])
VALUES["life_since"] = VALUES["last_seen"]
VALUES["address"] = st.sampled_from(
    [one for one in ADDRESSES if one and "/" not in one] + ["unknown", "192.0.2.1"]
)
VALUES["network"] = st.sampled_from(NETWORKS)
NUMBERED = [value for value in WORDS["version"] if numbers(value)]


def drawn(known=INSTALLATIONS):
    """Filters of fields that are known; what is compared by its numbers has some."""

    def sound(term):
        ordered = term.operator not in EXACT
        return term.field.name in known and not (
            ordered and term.field.kind is ValueType.VERSION and numbers(term.values[0]) is None
        )

    return filters(VALUES).map(lambda wanted: type(wanted)(tuple(filter(sound, wanted.terms))))


class Fleet:
    """The made-up fleet in a database; runs what it is asked to the end."""

    def __init__(self, runner, connection, rows):
        self.runner, self.connection, self.rows = runner, connection, rows

    def found(self, statement, wanted, columns):
        return self.runner.run(self._found(statement, wanted, columns))

    async def _found(self, statement, wanted, columns):
        asked = await condition(self.connection, wanted, columns, now=AT, first=1)
        rows = await self.connection.fetch(fill(statement, filter=asked.sql), *asked.values)
        return {UUID(bytes=row[0].bytes) for row in rows}


@pytest.fixture(scope="module")
def settled(cluster, template):
    with asyncio.Runner() as runner:
        runner.run(cluster.copy(template, "filtering"))
        connection = runner.run(asyncpg.connect(cluster.dsn("filtering")))
        fleet = Fleet(runner, connection, made_up())
        runner.run(settle(connection, fleet.rows))
        yield fleet
        runner.run(connection.close())
        runner.run(cluster.drop("filtering"))


NOW_WANTED = (
    "SELECT f.installation_id FROM installation_facts AS f "
    "LEFT JOIN installations AS i ON i.installation_id = f.installation_id WHERE TRUE /*:filter*/"
)
THEN_WANTED = "SELECT d.installation_id FROM installation_days AS d JOIN states AS s USING (installation_id, state) WHERE TRUE /*:filter*/"
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)


@SHARED
@given(wanted=drawn())
def test_a_filter_finds_what_it_means(settled, wanted):
    expected = {row["id"] for row in settled.rows if wants(wanted, row)}
    assert settled.found(NOW_WANTED, wanted, NOW) == expected


@SHARED
@given(wanted=drawn(THEN))
def test_a_filter_of_a_day_finds_what_it_means(settled, wanted):
    expected = {row["id"] for row in settled.rows if wants(wanted, row)}
    assert settled.found(THEN_WANTED, wanted, THEN) == expected


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_every_operator_of_every_field_splits_the_fleet(settled, name):
    """The made-up fleet has some that a term wants and some that it doesn't, or the tests above say little."""
    field = INSTALLATIONS[name]
    for operator in field.operators:
        tried = [parse_filter(f"{name}{operator}{value}") for value in _values(name, operator)]
        sizes = [len(settled.found(NOW_WANTED, wanted, NOW)) for wanted in tried]
        assert any(0 < size < len(settled.rows) for size in sizes), (name, operator, sizes)


def _values(name, operator):
    match INSTALLATIONS[name].kind:
        case ValueType.TIME:
            return ["2026-11-01", "2026-11-01T00:00:00Z"]
        case ValueType.PREFIX:
            return ["019ab6ef"]
        case ValueType.IDENTITY:
            return ["none", LICENSES[0]]
        case ValueType.VERSION if operator not in EXACT:
            return NUMBERED
        case ValueType.ADDRESS | ValueType.ADDRESS_RANGE:
            return {"address": ["192.0.2.7", "unknown"], "network": NETWORKS}[name]
    return INSTALLATIONS[name].values or [value for value in WORDS[name] if value.isalnum()]


def test_every_field_has_a_column():
    assert NOW.keys() - {VERSION_NUMBERS} == INSTALLATIONS.keys()


@given(wanted=drawn())
def test_a_statement_holds_declared_columns_and_parameters_only(wanted):
    class Products:
        async def fetch(self, _):
            named = {value for term in wanted.terms if term.field.name == "product" for value in term.values}
            return [{"product_id": uuid4(), "slug": slug, "is_simulated": "false"} for slug in named]

    asked = asyncio.run(condition(Products(), wanted, NOW, now=AT, first=3))
    bare = asked.sql
    for known in sorted([*NOW.values(), *ATTENTION_SQL], key=len, reverse=True):
        bare = bare.replace(known, "")
    numbered = [int(number) for number in re.findall(r"\$(\d+)", bare)]
    assert numbered == list(range(3, 3 + len(asked.values)))
    words = set(re.findall(r"[A-Za-z]\w*", bare))
    assert words <= {
        "AND",
        "OR",
        "IS",
        "NOT",
        "NULL",
        "TRUE",
        "ANY",
        "BETWEEN",
        "text",
        "uuid",
        "boolean",
        "bigint",
        "inet",
        "starts_with",
    }
    assert re.fullmatch(r"[\w\s$:()\[\]<>=,]*", bare)


ATTENTION_SQL = [
    "i.received <> int8multirange(int8range(1, upper(i.received)))",
    "i.lost > 0",
    "EXISTS (SELECT FROM forks AS k WHERE k.installation_id = f.installation_id)",
]


def test_what_is_known_of_the_present_only_cannot_be_asked_of_a_day(settled):
    with pytest.raises(NotThen, match=r"last_seen, life: only the present value is known"):
        settled.found(THEN_WANTED, parse_filter("life=lost country=DE last_seen<3d"), THEN)
