"""Access: complete to the last table, for an installation by its secret and for a customer by a link."""

import csv
import io
import json
import re
import zipfile
from datetime import UTC, datetime
from uuid import UUID

import pytest
from license_digest import digest_of
from places import ROOT

from telemetry_server.jobs.verdicts import judge_installations
from telemetry_server.privacy.files import MEANS
from telemetry_server.privacy.store.subject_export import MOST_ROWS, TABLES, UNREVIEWED, TooManyRows, whole
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.access import audit

SCHEMA = (ROOT / "schema.sql").read_text()
LEFT_OUT = {
    "person_identities": "accounts of the vendor's own people at OpenID providers: their page shows them"
}
"""Tables with such a column that are about no installation and no customer."""


def tables_about_subjects():
    """Those with such a column, and those whose rows belong to one of their rows."""
    tables = dict(re.findall(r"^CREATE TABLE (\w+) \((.*?)^\)", SCHEMA, re.DOTALL | re.MULTILINE))
    about = re.compile(
        r"^ +(installation_id|customer_id|license_id|subject_id|parent_id|entity_id|subject) ", re.MULTILINE
    )
    found = {name for name, columns in tables.items() if about.search(columns)}
    parts = re.compile(r"REFERENCES (\w+)")
    return found | {name for name, columns in tables.items() if set(parts.findall(columns)) & found}


def test_every_table_about_a_subject_is_exported():
    assert tables_about_subjects() - set(TABLES) == set(LEFT_OUT)
    assert set(MEANS) == set(TABLES)
    assert len(tables_about_subjects()) > 20


async def test_an_installation_gets_all_its_rows_by_its_secret(common_server, copy, own, rows):
    await copy.send(copy.ping(), copy.ping(service={"version": "8.0", "environment": "staging"}))
    answer = await own(copy, "/v1/access")
    assert answer.status == 200
    tables = answer.json["tables"]
    assert set(tables) == set(TABLES) - UNREVIEWED
    for table in ("installations", "installation_facts", "states", "pings", "changes"):
        assert len(tables[table]) == await rows(table, copy) > 0, table
    assert tables["pings"][0]["features"] == {"invoice.created": 12}
    assert [ping["sequence"] for ping in tables["pings"]] == [1, 2]
    other = await type(copy).enrolled(common_server)
    await other.send()
    assert other.id not in json.dumps((await own(copy, "/v1/access")).json)
    assert copy.id in json.dumps((await own(copy, "/v1/access")).json["tables"]["audit_entries"])
    assert (await own(copy, "/v1/access")).status == 200
    assert (await own(copy, "/v1/access")).status == 429


async def test_an_answer_has_a_limited_number_of_rows(copy, stored):
    await copy.send()
    subject = Subject("installation", UUID(copy.id))
    rows = sum(map(len, (await whole(stored, subject, most=None)).values()))
    assert 0 < rows < MOST_ROWS
    assert await whole(stored, subject, most=rows)
    with pytest.raises(TooManyRows, match="telemetry-server privacy access"):
        await whole(stored, subject, most=rows - 1)


async def test_the_command_writes_json_and_csv_of_a_customer(common_server, copy, stored, licensed, tmp_path):
    made = await licensed("grace@example.com", "ACCESS-1")
    claim = {
        "status": "licensed",
        "key_digest": digest_of(common_server.product_slug, "ACCESS-1"),
        "edition": "=1+1",
    }
    await copy.send(copy.ping(license=claim))
    await judge_installations(stored, datetime.now(UTC))
    to = tmp_path / "grace"
    done = common_server.command("privacy", "access", "--customer", "grace@example.com", "--to", str(to))
    assert done["rows"]["customers"] == done["rows"]["pings"] == done["rows"]["licenses"] == 1
    for table in TABLES:
        found = json.loads((to / f"{table}.json").read_text())
        assert len(found) == done["rows"][table]
        if found:
            with (to / f"{table}.csv").open(newline="") as file:
                assert len(list(csv.DictReader(file))) == len(found)
    assert "'=1+1" in (to / "pings.csv").read_text()
    assert str(made.customer_id) in (to / "README.txt").read_text()
    assert to.stat().st_mode & 0o077 == 0


async def test_a_customer_downloads_the_data_with_a_link_once(common_server, stored, licensed, reader):
    made = await licensed("joan@example.com", "LINK-1")
    url = common_server.command("privacy", "link", "--customer", "joan@example.com")["url"]
    token = url.partition("token=")[2]
    assert b"Your data" in (await reader(f"/privacy/access?token={token}"))[2]
    status, headers, body = await reader("/privacy/access", method="POST", data={"token": token})
    assert (status, headers["Content-Type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(body)) as packed:
        [customer] = json.loads(packed.read("customers.json"))
        assert customer["customer_id"] == str(made.customer_id)
        assert not UNREVIEWED & {name.partition(".")[0] for name in packed.namelist()}
    assert (await reader("/privacy/access", method="POST", data={"token": token}))[0] == 404
    assert (await reader(f"/privacy/access?token={token}"))[0] == 404
    found = await audit.find(stored, audit.AuditFilter(subject_id=str(made.customer_id)), limit=10)
    assert [each.actor for each in found if each.action == "customer.export"] == ["customer"]
