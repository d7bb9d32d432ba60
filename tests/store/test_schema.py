"""Rules for the schema and the SQL, held against pg_catalog and the real server."""

import asyncio
import re

import asyncpg
import msgspec
import pytest
from places import ROOT

from telemetry_server.check.fields import load_registry
from telemetry_server.enrich.places.place import Place
from telemetry_server.model import Verdict
from telemetry_server.store.queries import load, modules
from telemetry_server.store.registry import license_import
from telemetry_server.store.reports.export import What

pytestmark = [
    pytest.mark.every_postgres,
    pytest.mark.one_machine(reason="the schema is that before it is distributed"),
]

GROWING = {
    "installations",
    "installation_facts",
    "states",
    "changes",
    "pings",
    "installation_days",
    "forks",
    "lineage",
    "quarantine",
    "followed_installations",
    "installation_levels",
    "erased_installations",
    "support_grants",
    "restricted_installations",
    "case_rows",
}
SMALL = {
    "subject_requests",
    "subject_request_steps",
    "holds",
    "held_rows",
    "restrictions",
    "disclosures",
    "token_purposes",
    "editions",
    "releases",
    "customers",
    "customer_notes",
    "saved_views",
    "share_links",
    "chart_notes",
    "clear_up_items",
    "clear_up_changes",
    "licenses",
    "license_keys",
    "registry_changes",
    "webhook_deliveries",
    "shop_fields",
    "hostnames",
    "feature_names",
    "outages",
    "fleet_days",
    "active_days",
    "active_due",
    "feature_value_days",
    "operators",
    "fleet_now",
    "feature_days",
    "cohort_weeks",
    "rollup_marks",
    "days_due",
    "weeks_due",
    "products",
    "product_keys",
    "keyring_check",
    "master_keys",
    "ingest_counts",
    "people",
    "recovery_codes",
    "invitations",
    "sign_in_attempts",
    "tokens",
    "sign_in_links",
    "sessions",
    "sign_in_flows",
    "person_identities",
    "passkeys",
    "audit_entries",
    "audit_waiting",
    "audit_leaves",
    "audit_nodes",
    "audit_checkpoints",
    "witnessed_checkpoints",
    "notices",
    "customer_levels",
    "erasures",
    "erased_counts",
    "access_links",
    "public_figures",
    "support_cases",
    "support_approvals",
    "support_links",
    "findings",
    "cases",
    "case_findings",
    "case_history",
    "case_holds",
    "case_handovers",
    "case_attachments",
    "case_pauses",
    "jobs",
    "schema_migrations",
}
STATEMENTS = [(module, name) for module in modules() for name in load(module)]
OF_CITUS = "telemetry_server.store.distribution"
PREPARED = [(module, name) for module, name in STATEMENTS if module != OF_CITUS]  # by test_distribution.py


@pytest.fixture(scope="module")
def unchanged(cluster, template):
    """The DSN of a database for all tests of this module, which leave it as it was."""
    asyncio.run(cluster.copy(template, "unchanged"))
    yield cluster.dsn("unchanged")
    asyncio.run(cluster.drop("unchanged"))


@pytest.fixture
async def connection(unchanged):
    connection = await asyncpg.connect(unchanged)
    yield connection
    await connection.close()


async def fetch_names(connection, sql):
    return {row[0] for row in await connection.fetch(sql)}


async def test_every_table_is_known_to_grow_with_the_fleet_or_not(connection):
    tables = await fetch_names(
        connection,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition",
    )
    assert tables == GROWING | SMALL


async def test_every_key_of_a_growing_table_contains_installation_id(connection):
    keys = await connection.fetch("""
        SELECT c.relname AS table, i.indexrelid::regclass::text AS key, array_agg(a.attname::text) AS columns
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
        WHERE i.indisunique AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
        GROUP BY 1, 2
    """)
    growing = {row["key"]: row["columns"] for row in keys if row["table"] in GROWING}
    assert len(growing) == len(GROWING - {"pings"})  # schema.sql says why they have none
    assert {key: columns for key, columns in growing.items() if "installation_id" not in columns} == {}


async def test_growing_tables_use_nothing_that_citus_forbids(connection):
    """No triggers, no foreign keys from or to them, no sequences smaller than bigint, no sub-partitions, no inheritance, no exclusion constraints, no generated columns that are not stored."""
    found = await connection.fetch(
        """
        SELECT conname AS name, conrelid::regclass::text AS table FROM pg_constraint
        WHERE contype IN ('f', 'x') AND (conrelid::regclass::text = ANY ($1) OR confrelid::regclass::text = ANY ($1))
        UNION ALL
        SELECT tgname, tgrelid::regclass::text FROM pg_trigger
        WHERE NOT tgisinternal AND tgrelid::regclass::text = ANY ($1)
        UNION ALL
        SELECT relname, relname FROM pg_class WHERE relkind = 'p' AND relispartition
        UNION ALL
        SELECT relname, relname FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT attname, attrelid::regclass::text FROM pg_attribute
        WHERE attrelid::regclass::text = ANY ($1) AND (attidentity <> '' OR attgenerated NOT IN ('', 's'))
    """,
        sorted(GROWING),
    )
    assert found == []


async def test_every_column_of_a_state_is_a_field_by_its_name(connection):
    columns = await connection.fetch("""
        SELECT a.attname AS name, pg_get_expr(d.adbin, d.adrelid) AS expression
        FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = 'states'::regclass AND a.attgenerated = 's'
    """)
    told = {name: re.findall(r"'\{?(\w+),?(\w*)\}?'", expression) for name, expression in columns}
    assert told.pop("virtualization_told") == [("virtualization", "")]
    fields, place = load_registry().fields, {field.name for field in msgspec.structs.fields(Place)}
    for name, [(first, second)] in told.items():
        if second:
            assert name == f"{first}_{second}"
            assert f"{first}.{second}" in fields
        else:
            assert name in {first, f"place_{first}"}
            place.remove(first)
    assert place == set()


@pytest.mark.parametrize(
    ("what", "values"), [("verdict", list(Verdict)), ("reason", load_registry().fields["reason"].values)]
)
async def test_every_verdict_and_every_reason_has_a_number(connection, what, values):
    """A new one needs a migration that appends it to both functions."""
    rows = await connection.fetch(
        f"SELECT value, {what}_of({what}_code(value)) AS again FROM unnest($1::text[]) AS value", list(values)
    )
    assert [row["again"] for row in rows] == [row["value"] for row in rows] == list(values)


@pytest.mark.parametrize(("module", "name"), PREPARED, ids=[".".join(statement) for statement in PREPARED])
async def test_every_statement_can_be_prepared(connection, module, name):
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(license_import.SQL["remember_import"])
        for other, sql in load(module).items():
            if other.startswith("temporary_") and other != name:  # tables that last as long as a transaction
                await connection.execute(sql)
        await prepare(connection, module, name)
    finally:
        await transaction.rollback()


async def prepare(connection, module, name):
    statement = await connection.prepare(load(module)[name])
    assert statement.get_query() == load(module)[name]


def test_every_statement_is_used_and_none_is_missing():
    used = {what.name.lower() for what in What}  # each export has a statement
    for path in (ROOT / "telemetry_server").rglob("*.py"):
        text = path.read_text()
        used |= set(re.findall(r'"(\w+)"', text))
        for prefix in re.findall(r'SQL\[f"(\w+)\{', text):
            used |= {name for _, name in STATEMENTS if name.startswith(prefix)}
    assert {name for _, name in STATEMENTS} - used == set()


async def test_every_table_and_view_says_what_it_is(connection):
    silent = await fetch_names(
        connection,
        """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
          AND (NOT relispartition OR relname LIKE '%\\_default') AND obj_description(oid, 'pg_class') IS NULL
    """,
    )
    assert silent == set()


async def test_no_extension_is_needed(connection):
    assert await fetch_names(connection, "SELECT extname FROM pg_extension") == {"plpgsql"}


async def test_the_history_of_an_installation_is_found_by_its_index(connection):
    await connection.execute("SET enable_seqscan = off")
    plan = await connection.fetch(
        "EXPLAIN SELECT * FROM pings WHERE installation_id = '019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11' ORDER BY sequence DESC LIMIT 10"
    )
    assert any("Index Cond: (installation_id" in row[0] for row in plan), plan
