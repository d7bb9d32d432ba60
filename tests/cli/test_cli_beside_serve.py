"""Every command beside a running server, on one data directory with the embedded PostgreSQL."""

import asyncio
import csv
import json
import os
import stat
import subprocess
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pyarrow.parquet
import pytest
from installation import Installation, make_ping
from patience import patient, until, wait_until

from telemetry_server.check.fields import load_registry
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.store.job_log import lock_number


@pytest.fixture(scope="module")
def product(served):
    """A product; its slug."""
    return served.json("product", "add", "Billing Suite")["product"]


@pytest.fixture
async def postgres(served):
    connection = await asyncpg.connect(served.dsn)
    yield connection
    await connection.close()


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


def call(url, data=None, **headers):
    """The status of a request."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, headers), timeout=patient(10)
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def can_enrol(served, key):
    return call(f"{served.url}/v1/enroll", b"{}", Authorization=f"Bearer {key}") == 201


def enrolled(served, product, tmp_path):
    """An installation that was enrolled by file, once the running server knows its product and key."""
    file = tmp_path / f"{uuid.uuid4()}.json"
    served("enroll", product, "--output", file)
    installation = Installation(served.url, json.loads(file.read_text()))
    signature = {"Telemetry-Signature": installation.sign(b"{}")}
    wait_until(lambda: call(f"{served.url}/v1/pings", b"{}", **signature) != 401, every=0.1)
    return installation


def exported(installation, *pings):
    """A line as the SDK's export writes it."""
    body = installation.upload(*(pings or [installation.ping()]))
    headers = {"Content-Type": "application/json", "Telemetry-Signature": installation.sign(body)}
    line = {"method": "POST", "path": "/v1/pings", "headers": headers, "body": b64encode(body).decode()}
    return json.dumps(line) + "\n"


# ── products ────────────────────────────────────────────────────────────────────────────────


def test_a_product_is_added_and_its_key_enrols_at_the_running_server(served):
    added = served.json("product", "add", "Hosting Panel", "--interval", 3600)
    assert (added["product"], added["name"], added["ping_interval_seconds"]) == (
        "hosting-panel",
        "Hosting Panel",
        3600,
    )
    assert uuid.UUID(added["product_id"])
    assert can_enrol(served, added["product_key"])


def test_a_product_that_is_there_is_refused_with_what_to_do(served, product):
    assert f"product rotate-key {product}" in served.error("product", "add", "Again", "--slug", product)


def test_a_name_that_makes_no_slug_asks_for_one(served):
    assert "--slug" in served.error("product", "add", "統計")
    assert served.json("product", "add", "統計", "--slug", "statistics")["name"] == "統計"


def test_products_are_listed_with_their_whole_keys_and_no_colour(served):
    added = served.json("product", "add", "A [red]name[/red] " + "long " * 20, "--slug", "long-name")
    listed = served("product", "list").stdout
    assert "\x1b" not in listed
    assert "A [red]name[/red] long" in listed
    assert added["product_key"] in listed
    [found] = [each for each in served.json("product", "list")["products"] if each["product"] == "long-name"]
    assert found["product_keys"] == [added["product_key"]]


def test_rotating_a_key_ends_the_old_one_unless_it_is_kept(served):
    product = "rotating"
    first = served.json("product", "add", product)["product_key"]
    second = served.json("product", "rotate-key", product, "--keep-old")
    assert _keys(served, product) == [second["product_key"], first]
    assert second["ended_keys"] == 0
    third = served.json("product", "rotate-key", product)
    assert third["ended_keys"] == 2
    assert _keys(served, product) == [third["product_key"]]
    assert can_enrol(served, third["product_key"])
    assert not can_enrol(served, first)


def _keys(served, product):
    products = served.json("product", "list")["products"]
    return next(each["product_keys"] for each in products if each["product"] == product)


def test_an_unknown_product_is_told(served):
    assert '"product list" shows' in served.error("product", "rotate-key", "nothing")
    assert '"product list" shows' in served.error("product", "change", "nothing", "--grace", "1h")


def schedule(shown):
    names = ("ping_interval_seconds", "grace_seconds", "lost_after_seconds", "new_for_seconds")
    return [shown[name] for name in names]


def test_a_schedule_is_set_changed_and_shown(served):
    times = ("--interval", "12h", "--grace", "90m", "--lost-after", "2w", "--new-for", 0)
    added = served.json("product", "add", "Half daily", *times)
    assert schedule(added) == [43_200, 5_400, 1_209_600, 0]
    changed = served.json("product", "change", "half-daily", "--grace", "1d", "--new-for", "36h")
    assert schedule(changed) == [43_200, 86_400, 1_209_600, 129_600]
    assert "product_key" not in changed
    [found] = [each for each in served.json("product", "list")["products"] if each["product"] == "half-daily"]
    assert (schedule(found), found["simulated"]) == (schedule(changed), False)
    row = next(line for line in served("product", "list").stdout.splitlines() if "half-daily" in line)
    assert row.split()[3:7] == ["12h", "1d", "14d", "36h"]
    assert "Lost after   30d" in served("product", "change", "half-daily", "--lost-after", "30d").stdout


def test_a_schedule_that_makes_no_sense_is_refused_and_changes_nothing(served):
    before = served.json("product", "add", "Sensible")
    assert "longer than --interval and --grace" in served.error(
        "product", "change", "sensible", "--lost-after", "48h"
    )
    for option, value, words in (
        ("--grace", "soon", "36h"),
        ("--interval", "59s", "1m to 365d"),
        ("--lost-after", "11000d", "1m to 3650d"),
    ):
        assert words in served.error("product", "change", "sensible", option, value, exit_code=2)
    assert "at least one of --interval" in served.error("product", "change", "sensible", exit_code=2)
    [found] = [each for each in served.json("product", "list")["products"] if each["product"] == "sensible"]
    assert schedule(found) == schedule(before)
    assert "--lost-after" in served.error("product", "add", "Never", "--interval", "40d")


# ── tokens and sign-in ──────────────────────────────────────────────────────────────────────


def test_a_token_opens_the_api_until_it_is_revoked(served):
    made = served.json("token", "create", "--role", "viewer", "--label", "billing")
    api = f"{served.url}/api/v1/installations"
    assert made["role"] == "viewer"
    assert call(api, Authorization=f"Bearer {made['token']}") == 200
    served("token", "revoke", made["token_id"])
    assert call(api, Authorization=f"Bearer {made['token']}") == 401
    assert "token list" in served.error("token", "revoke", made["token_id"])


def test_tokens_are_listed_without_being_shown(served):
    made = served.json("token", "create", "--role", "admin", "--label", "nightly", "--expires-days", 30)
    listed = served("token", "list").stdout
    assert made["token_id"] in listed
    assert made["token"] not in listed
    [found] = [
        each for each in served.json("token", "list")["tokens"] if each["token_id"] == made["token_id"]
    ]
    expires_in = datetime.fromisoformat(found["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < expires_in < timedelta(days=31)


def test_a_token_stands_alone_on_stdout(served):
    [line] = served("token", "create", "--role", "viewer").stdout.splitlines()
    assert line.startswith("tlm_")


def test_a_token_has_limits(served, product):
    limits = ("--scope", "numbers", "--product", product, "--network", "127.0.0.0/8", "--expires", "12h")
    made = served.json("token", "create", "--role", "admin", *limits)
    assert (made["scopes"], made["products"], made["networks"]) == (["numbers"], [product], ["127.0.0.0/8"])
    expires_in = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=11) < expires_in < timedelta(hours=13)
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert call(f"{served.url}/api/v1/products", **headers) == 200
    assert call(f"{served.url}/api/v1/installations", **headers) == 403
    for wrong in (("--network", "127.0.0.1/8"), ("--expires", "12h", "--expires-days", 1), ("--scope", "x")):
        served.error("token", "create", "--role", "admin", *wrong, exit_code=2)
    assert "no product no-such" in served.error("token", "create", "--role", "viewer", "--product", "no-such")


def test_a_person_is_invited_given_a_role_and_deactivated(served, product):
    made = served.json("user", "invite", "Ann@Example.com", "--role", "analyst", "--listen", served.listen)
    address, _, token = made["link"].partition("?")
    assert (address, made["email"]) == (f"{served.url}/invitation", "ann@example.com")
    form = f"{token}&name=Ann&password=seven+wet+otters+sing"
    with pytest.raises(urllib.error.HTTPError) as answered:
        urllib.request.build_opener(_StayHere()).open(address, form.encode(), timeout=patient(10))
    assert answered.value.status == 303
    answered.value.close()
    sign_in = "email=ann%40example.com&password=seven+wet+otters+sing"
    assert "session" in _sign_in(f"{served.url}/sign-in", sign_in)
    changed = served.json("user", "role", "ann@example.com", "viewer", "--product", product)
    assert (changed["role"], changed["products"]) == ("viewer", [product])
    assert "ann@example.com" in served("user", "list").stdout
    assert "has an account" in served.error("user", "invite", "ann@example.com", "--role", "admin")
    assert served.json("user", "deactivate", "ann@example.com")["deactivated_at"]
    assert "session" not in _sign_in(f"{served.url}/sign-in", sign_in)
    assert "user list" in served.error("user", "deactivate", "ann@example.com")
    recorded = served.json("audit", "list", "--subject-kind", "person")["entries"]
    by_us = {each["action"] for each in recorded if each["actor"].startswith("cli:")}
    assert by_us >= {"person.invite", "person.role", "person.deactivate", "person.list"}
    [listed] = served.json("user", "list")["users"]
    assert (listed["email"], listed["has_password"]) == ("ann@example.com", True)


def test_a_sign_in_link_works_once(served):
    made = served.json("sign-in", "--listen", served.listen)
    address, _, token = made["url"].partition("?")
    assert address == f"{served.url}/sign-in"
    first, second = _sign_in(address, token), _sign_in(address, token)
    assert "session" in first
    assert "session" not in second


def _sign_in(address, token):
    """The cookies a browser gets that presses the button."""
    opener = urllib.request.build_opener(_StayHere())
    try:
        with opener.open(address, token.encode(), timeout=patient(10)) as answer:
            return answer.headers.get("Set-Cookie", "")
    except urllib.error.HTTPError as error:
        with error:
            return error.headers.get("Set-Cookie", "")


class _StayHere(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


# ── copies that may not go online ───────────────────────────────────────────────────────────


async def test_an_enrolment_file_makes_an_installation_the_server_knows(served, product, tmp_path):
    made = served.json("enroll", product, "--output", tmp_path / "copy.json")["enrolments"]
    file = tmp_path / "copy.json"
    assert [each["file"] for each in made] == [str(file)]
    assert mode(file) == 0o600
    enrolment = json.loads(file.read_text())
    assert enrolment["installation_id"] == made[0]["installation_id"]
    assert {"secret", "key", "product", "next_ping_seconds", "notice", "server_time"} < set(enrolment)
    answer = await Installation(served.url, enrolment).send()
    assert answer.statuses == ["accepted"]


def test_an_enrolment_file_is_never_overwritten(served, product, tmp_path):
    file = tmp_path / "copy.json"
    file.write_text("precious")
    assert "already exists" in served.error("enroll", product, "--output", file)
    assert file.read_text() == "precious"


def test_many_enrolments_go_into_a_directory(served, product, tmp_path):
    made = served.json("enroll", product, "--count", 3, cwd=tmp_path)["enrolments"]
    assert len({each["installation_id"] for each in made}) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(each["file"] for each in made)
    assert "must be a directory" in served.error(
        "enroll", product, "--count", 2, "--output", tmp_path / "one.json", exit_code=2
    )


def test_an_imported_file_counts_once(served, product, tmp_path):
    installation = enrolled(served, product, tmp_path)
    file = tmp_path / "export.jsonl"
    file.write_text(exported(installation, installation.ping(), installation.ping()) + exported(installation))
    arguments = ("import", file, "--endpoint", served.url)
    assert served.json(*arguments) == {"uploads": 2, "refused": 0, "pings": {"accepted": 3}}
    assert served.json(*arguments) == {"uploads": 2, "refused": 0, "pings": {"duplicate": 3}}
    assert served(*arguments).stdout == "2 uploads, 0 refused; pings: 3 duplicate\n"


def test_one_bad_line_never_costs_a_good_one(served, product, tmp_path):
    installation = enrolled(served, product, tmp_path)
    good, forged = exported(installation), json.loads(exported(installation))
    forged["body"] = b64encode(b'{"pings": []}').decode()
    file = tmp_path / "export.jsonl"
    file.write_text(f"garbage\n{json.dumps(forged)}\n\n{good}" + "x" * 5_000_000)
    done = served("import", file, "--endpoint", served.url, "--json", exit_code=1)
    assert json.loads(done.stdout) == {"uploads": 4, "refused": 3, "pings": {"accepted": 1}}
    assert f"{file} line 1: is not an upload" in done.stderr
    assert f"{file} line 2: 401" in done.stderr
    assert f"{file} line 5: is not an upload" in done.stderr


def test_an_import_without_a_server_says_what_to_do(served, tmp_path, product):
    file = tmp_path / "export.jsonl"
    file.write_text(exported(enrolled(served, product, tmp_path)))
    said = served.error("import", file, "--endpoint", "http://127.0.0.1:1")
    assert "Start telemetry-server serve" in said


# ── export ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def two_pings(served, product, tmp_path_factory):
    """The installation that sent them; nothing else sends as it."""
    installation = enrolled(served, product, tmp_path_factory.mktemp("copy"))
    evil = make_ping(2, service={"version": "=HYPERLINK(1)"}, os=None)
    answer = asyncio.run(installation.send(make_ping(1), evil))
    assert answer.statuses == ["accepted", "accepted"]
    return installation


def of(installation, lines):
    """The rows of that installation among the lines of an export, in order."""
    rows = [json.loads(line) for line in lines.splitlines()]
    return sorted(
        (row for row in rows if row["installation_id"] == installation.id),
        key=lambda row: row.get("sequence", 0),
    )


def test_pings_are_exported_as_json_lines(served, product, two_pings):
    rows = of(two_pings, served("export", "pings", "--product", product, "--columns", "all").stdout)
    assert [row["sequence"] for row in rows] == [1, 2]
    assert {row["product"] for row in rows} == {product}
    assert of(two_pings, served("export", "pings", "--product", "example").stdout) == []
    assert rows[0]["facts"]["os"]["name"] == rows[0]["os_name"] == "debian"
    assert rows[0]["features"] == {"invoice.created": 12}
    assert rows[0]["client_address"] == "127.0.0.1"
    assert datetime.fromisoformat(rows[0]["received_at"]).tzinfo


def test_a_csv_export_runs_no_formula(served, product, two_pings, tmp_path):
    file = tmp_path / "installations.csv"
    file.write_text("old")
    asked = ("--product", product, "--columns", "all", "--format", "csv", "--output", file)
    done = served("export", "installations", *asked)
    assert done.stdout == ""
    assert "installations written to" in done.stderr
    assert mode(file) == 0o600
    with file.open(newline="", encoding="utf-8-sig") as opened:
        [row] = [row for row in csv.DictReader(opened) if row["installation_id"] == two_pings.id]
    assert row["service_version"] == "'=HYPERLINK(1)"
    assert row["pings"] == "2"
    assert row["os_name"] == ""
    assert json.loads(row["facts"])["license"]["source"] == "marketplace"


def test_an_export_is_filtered_and_has_the_columns_asked_for(served, product, two_pings):
    asked = ("export", "installations", "--product", product, "--columns", "installation_id,pings")
    found = of(two_pings, served(*asked, "--filter", "version!=unknown last_seen<3d").stdout)
    assert found == [{"installation_id": two_pings.id, "pings": 2}]
    assert served(*asked, "--filter", "last_seen>3d").stdout == ""
    assert "did you mean country?" in served.error(*asked, "--filter", "contry=DE", exit_code=2)
    said = served.error("export", "pings", "--columns", "colour", exit_code=2)
    assert "pings has no column 'colour'; it has received_at" in said


def test_an_export_as_parquet_is_a_whole_file(served, product, two_pings, tmp_path):
    file = tmp_path / "pings.parquet"
    served("export", "pings", "--product", product, "--format", "parquet", "--output", file)
    rows = pyarrow.parquet.read_table(file).to_pylist()
    assert {row["sequence"] for row in rows if row["installation_id"] == two_pings.id} == {1, 2}
    assert mode(file) == 0o600


def test_an_export_begins_where_it_is_told_to(served, two_pings):
    yesterday, later = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 2))
    assert len(of(two_pings, served("export", "pings", "--since", yesterday.date()).stdout)) == 2
    assert served("export", "pings", "--since", f"{later:%Y-%m-%dT%H:%M:%SZ}").stdout == ""
    assert "not a date or time" in served.error("export", "pings", "--since", "monday", exit_code=2)


def test_an_export_of_no_product_leaves_the_file_as_it_was(served, tmp_path):
    file = tmp_path / "pings.ndjson"
    file.write_text("old")
    assert "product list" in served.error("export", "pings", "--product", "nothing", "--output", file)
    assert [path.name for path in tmp_path.iterdir()] == ["pings.ndjson"]
    assert file.read_text() == "old"


def test_whoever_stops_reading_an_export_gets_no_traceback(served):
    process = served.start(
        "export", "pings", "--format", "csv", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(patient(30)) == 1
    assert said == ""


def test_progress_is_shown_on_a_terminal(served):
    terminal, other_end = os.openpty()
    process = served.start("export", "installations", stdout=subprocess.DEVNULL, stderr=other_end)
    os.close(other_end)
    said = b""
    while chunk := _read(terminal):
        said += chunk
    os.close(terminal)
    assert process.wait(patient(30)) == 0
    assert b"exporting" in said


def _read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


# ── jobs and doctor ─────────────────────────────────────────────────────────────────────────


def test_a_job_runs_now_and_says_what_it_did(served):
    jobs = [each["job"] for each in served.json("run", "--list")["jobs"]]
    assert "empty quarantine" in jobs
    assert served.json("run", "empty quarantine") == {
        "job": "empty quarantine",
        "done": "removed 0 quarantined pings",
    }
    assert served("run", "empty-quarantine").stdout == "empty quarantine: removed 0 quarantined pings\n"
    assert "run --list" in served.error("run", "the", "dishes")


async def test_a_job_that_another_process_is_at_is_left_alone(served, postgres):
    await postgres.execute("SELECT pg_advisory_lock($1)", lock_number("empty quarantine"))
    said = await asyncio.to_thread(served.error, "run", "empty", "quarantine", exit_code=5)
    assert "Another process" in said


async def test_days_are_counted_anew_beside_a_running_server(served, postgres, two_pings):
    await roll_up_pings(load_registry())(postgres, datetime.now(UTC))
    count = "SELECT pings FROM installation_days WHERE installation_id = $1"
    assert await postgres.fetchval(count, uuid.UUID(two_pings.id)) == 2
    await postgres.execute("UPDATE installation_days SET pings = 77")
    today = datetime.now(UTC).date()
    days = {"from": str(today - timedelta(days=40)), "to": str(today)}
    asked = "rollup", "rebuild", "--from", days["from"], "--to", days["to"]
    assert served.json(*asked) == days
    assert served(*asked).stdout == f"recounted the days from {days['from']} to {days['to']}\n"
    assert await postgres.fetchval(count, uuid.UUID(two_pings.id)) == 2


def checks(report):
    """The outcomes by check, the worst where there are several."""
    order = ["ok", "warning", "failed"]
    outcomes = {}
    for each in report["checks"]:
        worst = max(order.index(each["outcome"]), order.index(outcomes.get(each["check"], "ok")))
        outcomes[each["check"]] = order[worst]
    return outcomes


async def until_every_job_ran(served, postgres):
    """A server that has just started runs its jobs one after the other."""
    listed = {each["job"] for each in served.json("run", "--list")["jobs"]}
    ran = "SELECT array_agg(name) FROM jobs WHERE last_started_at IS NOT NULL"

    async def have_run():
        return listed <= set(await postgres.fetchval(ran) or ())

    await until(have_run)
    assert await postgres.fetch("SELECT name, last_error FROM jobs WHERE last_error IS NOT NULL") == []


async def test_doctor_finds_a_running_server_well(served, postgres):
    await until_every_job_ran(served, postgres)
    report = await asyncio.to_thread(served.json, "doctor", "--listen", served.listen)
    assert report["ok"] is True
    outcomes = checks(report)
    assert outcomes.pop("GeoIP") == "warning"
    assert {name for name, outcome in outcomes.items() if outcome != "ok"} <= {"disk space", "C extensions"}
    table = served("doctor", "--listen", served.listen).stdout
    assert "✓  PostgreSQL" in table
    assert "telemetry-server geoip install" in table


async def test_doctor_sees_what_is_wrong(served, postgres, product, two_pings):
    await postgres.execute(
        "SELECT pg_advisory_lock($1)", lock_number("empty quarantine")
    )  # or the server runs it
    await postgres.execute("UPDATE jobs SET last_error = 'Boom: no' WHERE name = 'forget sessions'")
    await postgres.execute(
        "UPDATE jobs SET last_started_at = now() - interval '9 days' WHERE name = 'empty quarantine'"
    )
    await postgres.execute(
        "INSERT INTO pings_default SELECT received_at - interval '40 years', installation_id, sequence, ping_id, "
        "occurred_at, time_suspect, client_address, state, details, features FROM pings LIMIT 1"
    )
    await postgres.execute(
        "INSERT INTO quarantine SELECT gen_random_uuid(), 1, gen_random_uuid(), product_id, now(), "
        "'22P05', 'x', 'x' FROM products LIMIT 1"
    )
    await postgres.execute(
        "INSERT INTO outages VALUES (now() - interval '1 hour', now() + interval '1 hour')"
    )
    keyring = served.data / "keyring.json"
    keyring.chmod(0o644)
    try:
        report = await asyncio.to_thread(served.json, "doctor", "--listen", "127.0.0.1:1", exit_code=1)
    finally:
        keyring.chmod(0o600)
        await postgres.execute("DELETE FROM pings_default")
        await postgres.execute("DELETE FROM quarantine")
        await postgres.execute("DELETE FROM outages")
        await postgres.execute("UPDATE jobs SET last_error = NULL, last_started_at = now()")
    outcomes = checks(report)
    assert report["ok"] is False
    assert {name for name, outcome in outcomes.items() if outcome == "failed"} == {
        "keyring",
        "default partition",
    }
    assert {"quarantine", "jobs", "server", "reports"} <= {
        name for name, outcome in outcomes.items() if outcome == "warning"
    }
    details = [each["detail"] for each in report["checks"] if each["check"] == "jobs"]
    assert any("Boom: no" in detail for detail in details)
    assert any("ran last on" in detail for detail in details)


# ── keyring and settings ────────────────────────────────────────────────────────────────────


async def test_a_new_master_key_is_taken_up_and_the_old_ones_go_on(served, product, tmp_path):
    before = enrolled(served, product, tmp_path)
    key = served.json("keyring", "rotate")["current"]
    after = enrolled(served, product, tmp_path)
    assert (after.key, before.key) == (key, f"k{int(key[1:]) - 1}")
    assert (await after.send()).statuses == ["accepted"]
    assert (await before.send()).statuses == ["accepted"]
    assert mode(served.data / "keyring.json") == 0o600


def test_the_keyring_is_shown_without_its_keys(served):
    secrets = json.loads((served.data / "keyring.json").read_text())
    shown = served("keyring", "show").stdout + served("keyring", "show", "--json").stdout
    assert secrets["current"] in shown
    assert secrets["pepper"] not in shown
    assert all(master["secret"] not in shown for master in secrets["masters"].values())


def test_settings_are_shown_with_where_they_come_from(served, tmp_path):
    (tmp_path / "url").write_text("https://telemetry.example\n")
    environment = {"TELEMETRY_WORKERS": "3", "TELEMETRY_PUBLIC_URL_FILE": str(tmp_path / "url")}
    shown = served.json("config", "show", "--data", served.data, **environment)
    found = {each["name"]: (each["value"], each["source"]) for each in shown["settings"]}
    assert found["TELEMETRY_DATA"] == (str(served.data), "--data")
    assert found["TELEMETRY_WORKERS"] == (3, "TELEMETRY_WORKERS")
    assert found["TELEMETRY_PUBLIC_URL"] == ("https://telemetry.example", "TELEMETRY_PUBLIC_URL_FILE")
    assert found["TELEMETRY_LISTEN"] == ("127.0.0.1:8080", "default")
    assert "Number of server processes, all on the same port." in served("config", "show").stdout


def test_the_innermost_data_wins(served, tmp_path):
    def data(*arguments):
        shown = served.json(*arguments)
        return next(each["value"] for each in shown["settings"] if each["name"] == "TELEMETRY_DATA")

    assert data("config", "show") == str(served.data)
    assert data("--data", "/a", "config", "show") == "/a"
    assert data("--data", "/a", "config", "--data", "/b", "show") == "/b"
    assert data("--data", "/a", "config", "show", "--data", "/c") == "/c"


# ── the database as a whole ─────────────────────────────────────────────────────────────────


def test_psql_opens_the_database_and_its_exit_code_is_ours(served):
    assert served("db", "psql", "--", "-Atc", "SELECT count(*) > 0 FROM products").stdout == "t\n"
    assert served("db", "psql", "--", "-v", "ON_ERROR_STOP=1", "-c", "SELEC", exit_code=1).stderr != ""


def test_the_address_in_config_show_opens_the_running_database(served):
    hint = served.json("config", "show")["database"]
    assert served.dsn.split("?")[0] in hint
    assert f"host={served.data}/run" in hint


def test_a_dump_is_loaded_into_another_data_directory(served, two_pings, place):
    dump = place / "all.dump"
    served("db", "export", dump)
    assert mode(dump) == 0o600
    there = ("--data", place / "other")
    loaded = served("db", "import", dump, *there)
    assert f"Restore the keyring of this database to {place / 'other' / 'keyring.json'}" in loaded.stderr
    assert len(of(two_pings, served("export", "pings", *there).stdout)) == 2
    assert "not empty" in served.error("db", "import", dump, *there)


def test_a_file_that_is_no_dump_is_refused_before_a_database_is_made(served, place):
    (place / "no.dump").write_text("-- SQL")
    said = served.error("db", "import", place / "no.dump", "--data", place / "never")
    assert 'was not written by "db export"' in said
    assert not (place / "never").exists()


def test_an_upgrade_is_refused_while_the_server_runs(served):
    assert "stop it first" in served.error("db", "upgrade", exit_code=4)


async def test_a_reader_is_made_in_the_embedded_postgres_and_gets_in_with_its_password(served, product):
    made = served.json("db", "reader", "grafana")
    assert made["name"] == "grafana"
    assert "v_installations" in made["views"]
    reader = await asyncpg.connect(made["url"], password=made["password"])
    assert await reader.fetchval("SELECT count(*) FROM v_installations") >= 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch("TABLE licenses")
    await reader.close()
    for wrong in ("wrong", made["password"] + "x"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(made["url"], password=wrong)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):  # there is nothing for it there
        await asyncpg.connect(made["url"].replace("/telemetry?", "/postgres?"), password=made["password"])
    again = served("db", "reader", "grafana")
    assert "Password" not in again.stdout
    assert f"psql '{made['url']}'" in again.stdout
    shown = served("db", "reader", "grafana", "--new-password")
    assert made["password"] not in shown.stdout
    assert "cannot be shown again" in shown.stderr
    assert "role grafana is dropped" in served("db", "reader", "grafana", "--drop").stderr
    assert "There is no role grafana" in served.error("db", "reader", "grafana", "--drop")


def test_no_reader_takes_the_place_of_another_role(served):
    for taken in ("telemetry", "postgres"):
        assert "Choose another name" in served.error("db", "reader", taken)


async def test_the_role_of_the_server_cannot_switch_off_what_protects_the_audit_log(served, postgres):
    served("token", "create", "--role", "viewer")
    for statement in (
        "ALTER TABLE audit_leaves DISABLE TRIGGER USER",
        "DELETE FROM audit_leaves",
        "UPDATE audit_entries SET actor = 'x'",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await postgres.execute(statement)
    assert served.json("audit", "verify")["intact"]
    assert "token.create" in [each["action"] for each in served.json("audit", "list")["entries"]]
