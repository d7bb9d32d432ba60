"""docs/reporting.md says what is there, and its SQL runs as it stands."""

import asyncio
import re
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from places import ROOT

from telemetry_server.check.fields import load_registry
from telemetry_server.check.filters import filter_fields
from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.jobs.active import count_active_copies
from telemetry_server.jobs.cohorts import roll_up_cohorts
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.keyring import open_keyring
from telemetry_server.simulate.making import Order, make_fleet
from telemetry_server.store.dimensions import ALL, DIMENSIONS
from telemetry_server.store.reports.export import DEFAULT_COLUMNS
from telemetry_server.store.reports.readers import make_reader

PAGE = (ROOT / "docs" / "reporting.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```sql\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL)
COLUMNS = """
SELECT c.relname AS view, obj_description(c.oid) AS says, a.attname AS name,
       replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz') AS type,
       col_description(c.oid, a.attnum) AS what
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace AND c.relname LIKE 'v\\_%'
ORDER BY c.relname, a.attnum
"""


def tables():
    """What the page says of each view: its sentence, and its columns with their types and meanings."""
    parts = re.split(r"^### `(v_\w+)`\n", PAGE, flags=re.MULTILINE)
    for view, text in zip(parts[1::2], parts[2::2], strict=True):
        says = " ".join(text.split("\n| column", 1)[0].split())
        rows = re.findall(r"^\| (`.*`) \| ([\w\[\]]+) \| (.*) \|$", text, flags=re.MULTILINE)
        yield (
            view,
            says,
            [(name, type_, what) for names, type_, what in rows for name in re.findall(r"\w+", names)],
        )


async def test_the_page_says_which_columns_each_view_has(connection):
    there = await connection.fetch(COLUMNS)
    told = list(tables())
    assert {view for view, _, _ in told} == {row["view"] for row in there}
    for view, says, columns in told:
        rows = [row for row in there if row["view"] == view]
        assert says == rows[0]["says"]
        assert [column[:2] for column in columns] == [(row["name"], row["type"]) for row in rows], view
        assert [
            what for (_, _, what), row in zip(columns, rows, strict=True) if row["what"] not in {None, what}
        ] == []
        assert all(what for _, _, what in columns)


async def test_every_view_says_whether_its_product_is_made_up(connection):
    there = await connection.fetch(COLUMNS)
    said = {row["view"] for row in there if (row["name"], row["type"]) == ("simulated", "boolean")}
    assert said == {row["view"] for row in there}


@pytest.mark.parametrize("what", DEFAULT_COLUMNS)
def test_the_page_lists_the_default_columns_of_an_export(what):
    listed = PAGE.split(f"Default of `{what}`:\n")[1].split(".\n")[0]
    assert tuple(re.findall(r"`(\w+)`", listed)) == DEFAULT_COLUMNS[what]


@pytest.mark.parametrize("of", ["installations", "licenses", "customers", "features", "cohorts"])
def test_the_page_lists_every_field_of_a_filter(of):
    section = PAGE.split(f"### Of {of}\n")[1].split("\n##")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([a-z -]+) \| (.*) \|$", section, flags=re.MULTILINE)
    fields = getattr(filter_fields, of.upper())
    assert rows == [(field.name, field.kind, field.text) for field in fields.values()]


def test_the_page_lists_every_dimension_of_a_day():
    [listed] = re.findall(r"^\| `dimension` \| text \| (.*)\. \|$", PAGE, flags=re.MULTILINE)
    assert re.split(", | or ", listed) == [ALL, *(one.name for one in DIMENSIONS if one.rolled)]


def test_every_filter_on_the_page_is_one():
    found = re.findall(
        r"--filter '(.+?)'|'filter=(.+?)'|^    (verdict=.+)$|`(version=.+?)`", PAGE, flags=re.MULTILINE
    )
    assert len(found) == 4
    for groups in found:
        assert parse_filter("".join(groups)).terms


@pytest.fixture(scope="module")
def fleet(cluster, template, tmp_path_factory):
    """The address, for a reader, of a fleet that passes for a real one."""
    name, role = f"reported_{uuid.uuid4().hex[:12]}", f"r_{uuid.uuid4().hex[:12]}"
    end = datetime.now(UTC) - timedelta(hours=1)
    order = Order("Demo", installations=120, pings=2_400, days=40, seed=3, end=end)
    keyring = open_keyring(tmp_path_factory.mktemp("keyring") / "keyring.json")

    async def prepare():
        await cluster.copy(template, name)
        connection = await asyncpg.connect(cluster.dsn(name))
        await make_fleet(connection, keyring, order, lambda *_: None)
        await connection.execute("UPDATE products SET simulated = false")
        for job in (roll_up_pings, roll_up_days, roll_up_cohorts, count_active_copies):
            await job(load_registry())(connection, datetime.now(UTC))
        await make_reader(connection, role)
        await connection.close()

    asyncio.run(prepare())
    yield cluster.dsn(name).replace("postgres@", f"{role}@")
    asyncio.run(cluster.drop(name))
    asyncio.run(cluster.execute(f"DROP ROLE {role}"))


def as_grafana_and_metabase_send_it(sql):
    until = datetime.now(UTC)
    between = (
        rf"\1 BETWEEN '{until - timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}' AND '{until:%Y-%m-%dT%H:%M:%SZ}'"
    )
    return re.sub(r"\[\[|\]\]", "", re.sub(r"\$__timeFilter\((\w+)\)", between, sql)).replace(
        "{{product}}", "'demo'"
    )


def test_there_are_examples():
    assert len(EXAMPLES) == 13
    assert {view for view, _, _ in tables()} == set(re.findall(r"\bv_\w+", "".join(EXAMPLES)))


@pytest.mark.parametrize("sql", EXAMPLES, ids=range(len(EXAMPLES)))
async def test_every_example_runs_for_a_reader_and_finds_something(fleet, sql):
    reader = await asyncpg.connect(fleet)
    rows = await reader.fetch(as_grafana_and_metabase_send_it(sql))
    await reader.close()
    assert rows, sql
    assert all(value is not None for value in rows[0].values()), dict(rows[0])
