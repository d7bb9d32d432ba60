"""Exports over HTTP: streamed, told early when they cannot be, broken visibly when they break."""

import asyncio
import csv
import io
import json
from urllib.parse import quote

import aiohttp
import asyncpg
import pyarrow.parquet
import pytest
from patience import until

from telemetry_server import app_keys
from telemetry_server.show.api import export
from telemetry_server.store.reports import parquet


@pytest.fixture
async def program(site):
    return await site.program()


async def test_an_export_holds_what_the_list_shows(program, fleet):
    asked = quote("os=debian,ubuntu version>=7.1.4")
    listed = (
        await program.get(f"/api/v1/installations?limit=500&license_status=licensed&filter={asked}")
    ).json
    answer = await program.get(
        f"/api/v1/export/installations?columns=all&license_status=licensed&filter={asked}"
    )
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    rows = {row["installation_id"]: row for row in map(json.loads, answer.text.splitlines())}
    assert rows.keys() == {item["installation_id"] for item in listed["items"]}
    assert len(rows) > 3
    for item in listed["items"]:
        row = rows[item["installation_id"]]
        assert (row["pings"], row["missing"], row["lost"]) == (item["pings"], item["missing"], item["lost"])
        assert (row["os_name"], row["service_version"]) == (item["os"]["name"], item["service"]["version"])
        assert (row["country"], row["asn"]) == (item["place"]["country"], item["place"]["asn"])
        assert row["license_source"] == item["license"]["source"]
        for name in ("vm", "container", "cloud"):
            assert row[f"virtualization_{name}"] == item["virtualization"][name]


async def test_every_form_is_named_and_kept_by_nobody(program, fleet):
    count = (await program.site.execute("SELECT count(*) FROM installations"))[0][0]
    answer = await program.get("/api/v1/export/installations?format=csv")
    assert len(list(csv.DictReader(io.StringIO(answer.text, newline="")))) == count
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    plain = await program.get("/api/v1/export/installations?format=csv&bom=false")
    assert answer.text.splitlines()[0] == "\ufeff" + plain.text.splitlines()[0]
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="installations-20')
    assert (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]) == (
        "no-store",
        "nosniff",
    )
    answer = await program.get("/api/v1/export/installations?format=parquet&columns=installation_id,pings")
    table = pyarrow.parquet.read_table(io.BytesIO(answer.body))
    assert (table.num_rows, table.column_names) == (count, ["installation_id", "pings"])


async def test_an_export_of_nothing_is_an_empty_file(program, product):
    answer = await program.get("/api/v1/export/pings")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "status", "hint"),
    [
        ("/api/v1/export/customers", 404, "there are licenses, installations, pings"),
        ("/api/v1/export/pings?product=biling", 404, "There is no product 'biling'"),
        ("/api/v1/export/pings?format=xlsx", 400, "format must be one of ndjson, csv, parquet"),
        ("/api/v1/export/pings?filter=contry%3DDE", 400, "did you mean country?"),
        ("/api/v1/export/pings?columns=colour", 400, "has no column 'colour'; it has received_at"),
        ("/api/v1/export/fleet-days?country=DE", 400, "Name a product instead"),
    ],
)  # fmt: skip
async def test_what_cannot_be_exported_is_told_before_the_first_byte(program, product, path, status, hint):
    answer = await program.get(path)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert hint in answer.json["detail"]


async def test_an_export_leaves_a_trace_of_who_took_what(program, product, capsys):
    [token] = await program.site.execute("SELECT token_id FROM tokens")
    answer = await program.get("/api/v1/export/installations?format=csv&filter=country%3DDE")
    assert answer.status == 200
    [line] = [json.loads(each) for each in capsys.readouterr().err.splitlines() if '"exported"' in each]
    told = {name: line[name] for name in ("what", "format", "filter", "rows", "by")}
    assert told == {
        "what": "installations",
        "format": "csv",
        "filter": "country=DE",
        "rows": 0,
        "by": f"token {token['token_id']}",
    }


async def test_by_http_1_0_nothing_is_exported_since_a_cut_file_would_look_whole(site, product):
    headers = {"Authorization": f"Bearer {await site.token()}"}
    async with (
        aiohttp.ClientSession(version=aiohttp.HttpVersion10, headers=headers) as old,
        old.get(site.url + "/api/v1/export/pings") as answer,
    ):
        assert answer.status == 400
        assert "proxy_http_version 1.1" in (await answer.json(content_type=None))["detail"]


async def test_without_pyarrow_it_is_told_what_to_install(program, product, monkeypatch):
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    answer = await program.get("/api/v1/export/pings?format=parquet")
    assert (answer.status, answer.json["code"]) == (501, "parquet_missing")


@pytest.fixture
async def large(site, product):
    """More than fits into all the buffers on the way."""
    await site.execute(
        "INSERT INTO fleet_days (product_id, day, dimension, value, verdict, installations, pings) SELECT $1, '2026-11-22', 'version', n || repeat('x', 200), '', n, n FROM generate_series(1, 100000) AS n",
        product.id,
    )


async def begun(program, path):
    """An answer whose first bytes came; nothing more is taken until it is read."""
    answer = await program.session.get(program.site.url + path, read_bufsize=2**12)
    assert answer.status == 200
    return answer


async def copying(site):
    return await site.execute(
        "SELECT pid, wait_event FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND query LIKE 'COPY%' AND state = 'active'"
    )


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet"])
async def test_a_file_that_breaks_off_is_seen_to(program, large, form, monkeypatch):
    monkeypatch.setattr(parquet, "_ROW_GROUP_BYTES", 2**16)
    answer = await begun(program, f"/api/v1/export/fleet-days?format={form}")
    [row] = await copying(program.site)
    await program.site.execute("SELECT pg_terminate_backend($1)", row["pid"])
    with pytest.raises(aiohttp.ClientPayloadError):
        await answer.read()
    answer.close()
    assert (await program.get("/api/v1/products")).status == 200


async def test_whoever_takes_slowly_holds_postgres_back(program, large):
    answer = await begun(program, "/api/v1/export/fleet-days")

    async def waits_for_the_client():
        return [row["wait_event"] for row in await copying(program.site)] == ["ClientWrite"]

    await until(waits_for_the_client, otherwise="PostgreSQL went on")
    assert len((await answer.read()).splitlines()) == 100_000
    answer.release()


async def test_whoever_takes_nothing_any_more_is_left(program, large, monkeypatch):
    monkeypatch.setattr(export, "STALLED_SECONDS", 0.5)
    answer = await begun(program, "/api/v1/export/fleet-days")
    await gone(program.site)
    with pytest.raises(aiohttp.ClientError):
        await answer.read()
    answer.close()


async def test_whoever_goes_away_ends_the_export(program, large):
    answer = await begun(program, "/api/v1/export/fleet-days")
    answer.close()
    await gone(program.site)


async def test_whoever_goes_away_before_the_first_row_ends_the_export(program, large):
    """PostgreSQL waits for a lock, as it may search for long."""
    holder = await asyncpg.connect(program.site.dsn)
    async with holder.transaction():
        await holder.execute("LOCK TABLE fleet_days")
        with pytest.raises(TimeoutError):
            await program.session.get(
                program.site.url + "/api/v1/export/fleet-days", timeout=aiohttp.ClientTimeout(total=1)
            )

        async def ended():
            waiting = await program.site.execute("SELECT FROM pg_locks WHERE NOT granted")
            return not waiting and not program.site.app[app_keys.EXPORTS]._open

        await until(ended, otherwise="the export goes on")
    await holder.close()
    assert (await program.get("/api/v1/export/fleet-days?since=2100-01-01T00:00:00Z")).status == 200


async def test_half_a_connection_gets_no_export(program, large):
    """It cannot be told from a client that left, for whom PostgreSQL would search on."""
    holder = await asyncpg.connect(program.site.dsn)
    async with holder.transaction():
        await holder.execute("LOCK TABLE fleet_days")
        _, writer = await asyncio.open_connection(*program.site.url.removeprefix("http://").split(":"))
        token = program.session.headers["Authorization"]
        writer.write(
            f"GET /api/v1/export/fleet-days HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode()
        )
        await writer.drain()
        await asyncio.sleep(0.5)
        assert await program.site.execute("SELECT FROM pg_locks WHERE NOT granted")
        writer.write_eof()

        async def ended():
            return not await program.site.execute("SELECT FROM pg_locks WHERE NOT granted")

        await until(ended, otherwise="the export goes on")
    writer.close()
    await holder.close()


async def test_the_head_of_an_export_runs_no_export(program, large):
    async with program.session.head(program.site.url + "/api/v1/export/fleet-days?format=csv") as answer:
        assert (answer.status, answer.content_type) == (200, "text/csv")
        assert "attachment" in answer.headers["Content-Disposition"]
        assert not program.site.app[app_keys.EXPORTS]._open
        assert await copying(program.site) == []


async def gone(site):
    async def ended():
        return not await copying(site)

    await until(ended, otherwise="the export goes on")


async def test_one_export_for_each_and_a_few_for_all(program, large):
    """Whoever does not read keeps nobody else from exporting."""
    running = [await begun(program, "/api/v1/export/fleet-days")]
    refused = await program.get("/api/v1/export/fleet-days")
    assert (refused.status, refused.json["detail"][:19]) == (429, "An export of yours ")
    running += [await begun(await program.site.program(), "/api/v1/export/fleet-days") for _ in range(4)]
    refused = await (await program.site.program()).get("/api/v1/export/fleet-days")
    assert (refused.status, refused.headers["Retry-After"]) == (429, "30")
    for answer in running:
        answer.close()
    await gone(program.site)
    assert (await program.get("/api/v1/export/fleet-days?since=2100-01-01T00:00:00Z")).status == 200
