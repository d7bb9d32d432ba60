"""Exports: the same rows in every form, whoever wrote what into them."""

import codecs
import csv
import io
import json
import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pyarrow.parquet
import pytest

from telemetry_server.check.filters.filter_fields import LICENSES
from telemetry_server.check.filters.parser import BadFilter, parse_filter
from telemetry_server.check.licenses.rows import guarded, unguarded
from telemetry_server.store.registry.products import NoSuchProduct
from telemetry_server.store.reports import parquet
from telemetry_server.store.reports.export import Form, NoSuchColumn, NothingToFilter, Wanted, What, export
from telemetry_server.store.reports.parquet import ParquetMissing
from telemetry_server.text import hidden_in

pytestmark = pytest.mark.every_postgres

NOW = datetime.now(UTC)
HOSTILE = (
    "=HYPERLINK(1)", "+1", "-1", "@SUM", "|x", " =1", "\u00a0=1", "\ufeff=1", "\uff1d1", "\t", "\r\n", '"=1', "'",
    'a "quoted" word', "line\nbreak", "a,b", "\\", "\\n", "\\.", "\x01\x02", "", "{}", "NULL", "\u202e", "😀", "ß",
    "'; DROP TABLE pings; --", "$1", "%s",
)  # fmt: skip


@pytest.fixture
async def products(connection):
    rows = await connection.fetch(
        "INSERT INTO products (product_id, slug, name, created_at) SELECT gen_random_uuid(), slug, slug, now() FROM unnest('{billing,panel}'::text[]) AS slug RETURNING slug, product_id"
    )
    return dict(rows)


@pytest.fixture
async def fleet(connection, products):
    """An installation for each hostile text, which it uses as a version."""
    for number, text in enumerate(HOSTILE, 1):
        await settle(connection, products["billing"], UUID(int=number), text)
    await settle(connection, products["panel"], UUID(int=1000), None, lost=2)
    return connection


async def settle(connection, product, installation, version, lost=0):
    received = "{[1,3),[5,9)}" if lost else "{[1,9)}"
    facts = {
        "service": {"version": version},
        "license": {"key_hint": version},
        "virtualization": {"vm": "kvm"},
    }
    place = {"country": "DE", "asn": 64500, "hosting": True, "built_on": "2026-11-01"}
    await connection.execute(
        "INSERT INTO installations (installation_id, product_id, received, received_before, lost, first_received_at, last_received_at, last_sequence, last_occurred_at, client_address, state) "
        "VALUES ($1, $2, $3::text::int8multirange, '{}', $4, $5, $5, 8, $5, '192.0.2.7', $6)",
        *(installation, product, received, lost, NOW, b"s" * 16),
    )
    await connection.execute(
        "INSERT INTO states (installation_id, state, first_received_at, license_status, facts, place) VALUES ($1, $2, $3, 'licensed', $4, $5)",
        *(installation, b"s" * 16, NOW, json.dumps(facts), json.dumps(place)),
    )
    await connection.execute(
        "INSERT INTO installation_facts (installation_id, product_id, first_received_at, license_status, license_source, edition, version, environment, os_name, vm, container, cloud, country, asn, hosting, verdict, claim_mismatch, source_mismatch, judged_at, life, life_since, due_at) "
        "VALUES ($1, $2, $3, 'licensed', 'unknown', 'unknown', coalesce($4, 'unknown'), 'unknown', 'unknown', 'kvm', 'none', 'none', 'DE', '64500', true, 'valid', false, true, $3, 'new', $3, $3)",
        *(installation, product, NOW, version),
    )
    await connection.execute(
        "INSERT INTO pings (received_at, installation_id, sequence, ping_id, occurred_at, time_suspect, client_address, state, details, features) VALUES ($1, $2, 8, $3, $1, false, '192.0.2.7', $4, '{\"reason\": \"start\"}', '{\"invoice.sent\": 3}')",
        *(NOW, installation, uuid4(), b"s" * 16),
    )


async def written(connection, what, form, **wanted):
    pieces = []

    async def keep(piece):
        pieces.append(piece)

    count = await export(connection, Wanted(What(what), form, **wanted), keep, now=NOW)
    return count, b"".join(pieces)


async def rows_of(connection, what, form=Form.NDJSON, **wanted):
    count, data = await written(connection, what, form, **wanted)
    rows = READERS[form](data)
    assert len(rows) == count
    return rows


def _from_csv(data):
    assert data.startswith(codecs.BOM_UTF8)
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def _from_ndjson(data):
    assert not data or data.endswith(b"\n")
    return [json.loads(line) for line in data.decode().split("\n")[:-1]]


def _from_parquet(data):
    return pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()


READERS = {Form.CSV: _from_csv, Form.NDJSON: _from_ndjson, Form.PARQUET: _from_parquet}


def by_id(rows):
    return {str(row["installation_id"]): row for row in rows}


# ── what a file says ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", Form)
async def test_every_form_says_what_the_view_says(fleet, form):
    told = {
        str(row["installation_id"]): row["service_version"]
        for row in await fleet.fetch("TABLE v_installations")
    }
    columns = ("installation_id", "service_version", "license_key_hint")
    found = by_id(await rows_of(fleet, "installations", form, columns=columns))
    assert found.keys() == told.keys()
    for identity, row in found.items():
        text = told[identity]
        expected = guarded(text or "") if form is Form.CSV else text
        assert row["service_version"] == expected, text
        assert row["license_key_hint"] == expected, text
    assert len(found) == len(HOSTILE) + 1


async def test_ndjson_nests_documents_and_keeps_types(fleet):
    [row] = await rows_of(fleet, "installations", product="panel", columns=("all",))
    assert (row["pings"], row["missing"], row["lost"]) == (4, 2, 2)
    assert (row["hosting"], row["source_mismatch"], row["os_name"]) == (True, True, None)
    assert (row["asn"], row["client_address"], row["place_built_on"]) == (64500, "192.0.2.7", "2026-11-01")
    assert row["facts"]["virtualization"] == {"vm": "kvm"}
    assert datetime.fromisoformat(row["first_received_at"]) == NOW
    assert list(row) == [r["column_name"] for r in await _columns(fleet, "v_installations")]


async def _columns(connection, view):
    return await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = $1 ORDER BY ordinal_position",
        view,
    )


async def test_csv_has_a_head_and_tells_nothing_from_an_empty_text(fleet):
    _, data = await written(
        fleet, "installations", Form.CSV, columns=("service_version", "os_name", "hosting", "life_since")
    )
    head, *lines = data.decode("utf-8-sig").split("\n")
    assert head == "service_version,os_name,hosting,life_since"
    moment = f"{NOW:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".") + "+00"
    assert f'"",,true,{moment}' in lines
    assert f",,true,{moment}" in lines


async def test_parquet_has_types(fleet):
    _, data = await written(fleet, "installations", Form.PARQUET, columns=("all",))
    schema = pyarrow.parquet.read_schema(io.BytesIO(data))
    types = {name: str(type_) for name, type_ in zip(schema.names, schema.types, strict=True)}
    assert (types["pings"], types["asn"], types["hosting"]) == ("int64", "int64", "bool")
    assert (types["first_received_at"], types["place_built_on"]) == ("timestamp[us, tz=UTC]", "date32[day]")
    rows = by_id(_from_parquet(data))
    one = rows[str(UUID(int=1000))]
    assert (one["first_received_at"], one["place_built_on"], one["lost"]) == (NOW, date(2026, 11, 1), 2)
    assert (one["service_version"], rows[str(UUID(int=HOSTILE.index("") + 1))]["service_version"]) == (
        None,
        "",
    )
    assert json.loads(one["facts"])["virtualization"] == {"vm": "kvm"}


@pytest.mark.parametrize("form", Form)
async def test_an_export_of_nothing_is_whole(connection, products, form):
    assert await rows_of(connection, "installations", form) == []


@pytest.mark.one_machine(reason="on a cluster each node has a plan of its own")
@pytest.mark.parametrize("what", ["installations", "pings"])
async def test_the_default_columns_need_no_states(fleet, what):
    default, every, named = [
        (await rows_of(fleet, what, product="panel", columns=columns))[0]
        for columns in ((), ("all",), ("facts", "installation_id"))
    ]
    assert default.items() <= every.items()
    assert list(every) == [row["column_name"] for row in await _columns(fleet, f"v_{what}")]
    assert list(named) == ["facts", "installation_id"]
    for columns, read in ((default, False), (["os_type"], True)):
        plan = await fleet.fetch(f"EXPLAIN SELECT {', '.join(columns)} FROM v_{what}")
        assert any(" states " in line for [line] in plan) is read


@pytest.mark.parametrize("what", What)
@pytest.mark.parametrize("form", Form)
async def test_everything_can_be_exported_in_every_form(fleet, products, what, form):
    day, product = NOW.date(), products["billing"]
    await fleet.execute("INSERT INTO changes VALUES ($1, $2, 2, 'life', 'new', 'active')", UUID(int=1), NOW)
    await fleet.execute(
        "INSERT INTO installation_days VALUES ($1, $2, $3, $4, 'valid', false, false, 2, NULL)",
        day,
        UUID(int=1),
        product,
        b"s" * 16,
    )
    await fleet.execute(
        "INSERT INTO fleet_days (product_id, day, dimension, value, verdict, installations, pings) VALUES ($1, $2, 'all', '', '', 3, 4)",
        product,
        day,
    )
    await fleet.execute(
        "INSERT INTO feature_days VALUES ($1, $2, 'invoice.sent', 12345678901234567890, 3)", product, day
    )
    await fleet.execute(
        "INSERT INTO cohort_weeks VALUES ($1, $2, $2, 3, 0, 0)", product, day - timedelta(days=day.weekday())
    )
    await fleet.execute(
        "INSERT INTO licenses (license_id, product_id, key_hash, key_hint, created_at, updated_at) VALUES ($1, $2, sha256('x'), 'x', $3, $3)",
        *(UUID(int=1), product, NOW),
    )
    [row, *others] = await rows_of(fleet, what, form, product="billing")
    assert {row["product"], *(other["product"] for other in others)} == {"billing"}
    of_panel = {other["product"] for other in await rows_of(fleet, what, form, product="panel")}
    assert of_panel == ({"panel"} if what in {What.INSTALLATIONS, What.PINGS} else set())
    assert await rows_of(fleet, what, form, since=NOW + timedelta(days=8)) == []
    if what is What.FEATURE_DAYS:
        assert Decimal(row["uses"]) == Decimal(12345678901234567890)


# ── which rows ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["installations", "pings"])
async def test_a_filter_finds_the_rows_of_its_installations(fleet, what):
    for text in (
        "attention=lost",
        "product=panel",
        "id=00000000-0000-0000-0000-0000000003e8",
        "version=unknown",
    ):
        [row] = await rows_of(fleet, what, filter=parse_filter(text))
        assert row["installation_id"] == str(UUID(int=1000))
    everything = await rows_of(fleet, what, filter=parse_filter("last_seen<3d country=DE"))
    assert len(everything) == len(HOSTILE) + 1


@pytest.fixture
async def licenses(connection, products):
    """A license for each hostile text, which is everything it may be."""
    await connection.execute(
        "INSERT INTO customers (customer_id, email, created_at, updated_at) VALUES ($1, 'ann@example.com', $2, $2)",
        UUID(int=7),
        NOW,
    )
    for number, text in enumerate(HOSTILE, 1):
        await connection.execute(
            "INSERT INTO licenses (license_id, product_id, customer_id, key_hash, key_hint, order_reference, directories, custom, created_at, updated_at) "
            "VALUES ($1, $2, $3, sha256(uuid_send($1)), 'x', nullif($4, ''), ARRAY[$4, 'b'], jsonb_build_object('note', $4::text), $5, $5)",
            *(UUID(int=number), products["billing"], UUID(int=7), text, NOW),
        )
    return connection


@pytest.mark.parametrize("form", Form)
async def test_licenses_come_with_lists_as_an_import_takes_them(licenses, form):
    rows = {row["license_id"]: row for row in await rows_of(licenses, "licenses", form)}
    assert len(rows) == len(HOSTILE)
    for number, text in enumerate(HOSTILE, 1):
        row = rows[str(UUID(int=number))]
        guard = guarded if form is Form.CSV else str
        listed = guard(f"{text}; b")
        assert row["directories"] == ([text, "b"] if form is Form.NDJSON else listed)
        assert (row["order_reference"] or "") == guard(text)
        assert row["customer_email"] == "ann@example.com"
        custom = row["custom"] if form is Form.NDJSON else json.loads(unguarded(row["custom"]))
        assert custom == {"note": text}
        environments = ["development", "staging"]
        assert row["free_environments"] == (environments if form is Form.NDJSON else " ".join(environments))


async def test_licenses_have_filters_of_their_own(licenses):
    wanted = parse_filter('order="@SUM","=1+1" customer!=none', LICENSES)
    assert [row["order_reference"] for row in await rows_of(licenses, "licenses", filter=wanted)] == ["@SUM"]


async def test_a_hostile_value_is_only_a_value(fleet):
    for number, text in enumerate(HOSTILE, 1):
        asked = 'version="' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if hidden_in(text):
            with pytest.raises(BadFilter, match="can be in no value"):
                parse_filter(asked)
            continue
        wanted = parse_filter(asked)
        [row] = await rows_of(fleet, "installations", filter=wanted)
        assert row["installation_id"] == str(UUID(int=number))
        with pytest.raises(NoSuchProduct):
            await rows_of(fleet, "installations", product=text)


async def test_counts_have_no_installations_to_filter(fleet):
    with pytest.raises(NothingToFilter, match="fleet-days has none"):
        await written(fleet, "fleet-days", Form.CSV, filter=parse_filter("country=DE"))


async def test_a_column_that_is_not_there_is_told_with_those_that_are(fleet):
    with pytest.raises(
        NoSuchColumn, match=r"installations has no column 'verdic'; it has installation_id, product, "
    ):
        await written(fleet, "installations", Form.CSV, columns=("verdic",))
    with pytest.raises(NoSuchColumn):
        await written(fleet, "installations", Form.CSV, columns=('"; DROP TABLE pings; --',))


# ── what breaks off ─────────────────────────────────────────────────────────────────────────


async def many(connection, products, count=60_000):
    """Enough that PostgreSQL is still writing when somebody gives up."""
    await connection.execute(
        "INSERT INTO fleet_days (product_id, day, dimension, value, verdict, installations, pings) SELECT $1, '2026-11-22', 'version', n::text, '', n, n FROM generate_series(1, $2::int) AS n",
        products["billing"],
        count,
    )


@pytest.mark.parametrize("form", Form)
async def test_whoever_stops_taking_ends_the_export(connection, products, form, database):
    await many(connection, products)

    async def full(piece):
        raise OSError(28, "No space left on device")

    for what in (What.FLEET_DAYS, What.COHORT_WEEKS):  # in the middle, and with the one piece there is
        connection = await asyncpg.connect(database)
        if what is What.FLEET_DAYS or form is not Form.NDJSON:  # which has none
            with pytest.raises(OSError, match="No space left"):
                await export(connection, Wanted(what, form), full, now=NOW)
            assert connection.is_closed() or form is Form.PARQUET  # which fails when PostgreSQL is done
        await connection.close()


@pytest.mark.parametrize("form", Form)
async def test_what_postgres_cannot_finish_is_raised_and_makes_no_good_file(
    connection, products, form, database, monkeypatch
):
    monkeypatch.setattr(parquet, "_ROW_GROUP_BYTES", 2**16)
    await many(connection, products)
    other, pieces = await asyncpg.connect(database), []

    async def cut(piece):
        if not pieces:
            await other.execute("SELECT pg_cancel_backend($1::integer)", connection.get_server_pid())
        pieces.append(piece)

    with pytest.raises(asyncpg.QueryCanceledError):
        await export(connection, Wanted(What.FLEET_DAYS, form), cut, now=NOW)
    await other.close()
    if form is Form.PARQUET:
        assert not b"".join(pieces).endswith(b"PAR1")


@pytest.mark.parametrize("head", [b"", b"name\n", b'name\n"half of a ro'])
async def test_parquet_tells_why_its_rows_broke_off_wherever_they_did(head):
    pieces = []

    async def csv_of_little(sink):
        if head:
            await sink(head)
        raise asyncpg.QueryCanceledError

    async def keep(piece):
        pieces.append(piece)

    with pytest.raises(asyncpg.QueryCanceledError):
        await parquet.write(csv_of_little, {"name": "text"}, keep)
    assert not b"".join(pieces).endswith(b"PAR1") or pieces == [b"PAR1"]  # that is how one begins, too


async def test_parquet_is_written_in_bounded_row_groups(connection, products, monkeypatch):
    monkeypatch.setattr(parquet, "_ROW_GROUP_BYTES", 2**18)
    await many(connection, products)
    count, data = await written(connection, "fleet-days", Form.PARQUET)
    file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
    assert (file.metadata.num_rows, count) == (60_000, 60_000)
    assert file.metadata.num_row_groups > 5
    assert sum(file.read().column("installations").to_pylist()) == sum(range(60_001))


async def test_without_pyarrow_it_is_told_what_to_install(connection, products, monkeypatch):
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    with pytest.raises(ParquetMissing, match=r"pip install .license-telemetry-server\[parquet\]"):
        await written(connection, "installations", Form.PARQUET)


async def test_no_file_is_left_open(connection, products):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await written(connection, "installations", Form.PARQUET)
    assert len(os.listdir("/proc/self/fd")) <= before + 1


# ── the guard against formulas ──────────────────────────────────────────────────────────────


async def test_no_column_but_of_guarded_text_can_hold_a_formula(connection):
    """Lists and documents are guarded as text; the others are numbers, moments and the like."""
    types = await connection.fetch(
        "SELECT DISTINCT a.atttypid::regtype::text AS type FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relkind = 'v' AND c.relname LIKE 'v\\_%' AND a.attnum > 0"
    )
    assert {row["type"] for row in types} == {
        *("text", "uuid", "inet", "boolean", "integer", "bigint", "numeric"),
        *("date", "timestamp with time zone", "jsonb", "text[]", "inet[]"),
    }


async def test_the_guard_in_sql_is_the_guard_in_python(connection):
    texts = [
        *HOSTILE,
        *("a;=1", "a;b;c", "a; \t-1", '1;"@x', "=1;;+1;'=1", ";", "ä;=1", ";|x", "a,=1;"),
        *(chr(number) + "=1" for number in range(1, 0x3100)),
        *(chr(n) for n in range(1, 0x3100)),
    ]
    texts += [chr(number) + "x" for number in (*range(0xFEF0, 0xFFF0), 0x1F600)]
    found = await connection.fetch("SELECT t, spreadsheet_text(t) FROM unnest($1::text[]) AS t", texts)
    assert [(row[0], row[1]) for row in found if row[1] != guarded(row[0])] == []
    assert await connection.fetchval("SELECT spreadsheet_text(NULL)") is None
