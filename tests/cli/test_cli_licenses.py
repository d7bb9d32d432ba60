"""The commands of the license registry, as processes on a real database; and the examples of docs/licenses.md."""

import json
import os
import re
import shlex
import signal
import stat
import subprocess

import asyncpg
import pyarrow.parquet
import pytest
from patience import patient, until
from places import ROOT

HEAD = "key,seats,customer_email\n"
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"(_at +)\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


@pytest.fixture
def registry(operator):
    """The command, on a database with the product acme-billing."""
    operator("product", "add", "ACME Billing")
    return operator


@pytest.fixture
def file(tmp_path):
    def write(content, name="licenses.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def import_(registry, path, *options, **more):
    return registry.json("license", "import", path, "--product", "acme-billing", *options, **more)


def counts(summary):
    return {
        name: summary[name] for name in ("new", "changed", "unchanged", "repeated", "wrong") if summary[name]
    }


# ── the documentation ───────────────────────────────────────────────────────────────────────


def test_the_examples_of_the_documentation_are_true(registry, tmp_path):
    page = (ROOT / "docs" / "licenses.md").read_text("utf-8")
    last = ""
    for kind, name, block in re.findall(
        r"^```(csv|console) ?(\S*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE
    ):
        if kind == "csv":
            (tmp_path / name).write_text(block)
            continue
        for example in block.removeprefix("$ ").split("\n$ "):
            command, _, expected = example.partition("\n")
            words = shlex.split(command.replace(" ID ", f" {last} "))
            done = registry.start(
                *words[1:], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ).communicate(timeout=patient(60))
            last = (re.search(rf"license_id +({ID.pattern})", done[0]) or [last, last])[1]
            said = TIME.sub(r"\1TIME", ID.sub("ID", "".join(done)))
            assert sorted(said.splitlines()) == sorted(expected.rstrip("\n").splitlines()), command


def test_every_column_is_documented():
    from telemetry_server.check.licenses.columns import PARSERS

    page = (ROOT / "docs" / "licenses.md").read_text("utf-8")
    assert [name for name in PARSERS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", ["whmcs", "envato"])
def test_every_column_of_a_mapping_is_documented(name):
    from telemetry_server.check.licenses.mappings import MAPPINGS, MappingName

    page = (ROOT / "docs" / "licenses.md").read_text("utf-8")
    columns = set(MAPPINGS[MappingName(name)].columns) - {"license_key"}
    assert [column for column in columns if f"`{column}`" not in page] == []


# ── import ──────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_row_leaves_with_1_and_the_good_ones_are_there(registry, file):
    path = file(HEAD + "A-1,1,\nB-2,x,\nC-3,3,\n")
    summary = import_(registry, path, exit_code=1)
    assert counts(summary) == {"new": 2, "wrong": 1}
    assert summary["problems"] == [
        {
            "line": 3,
            "column": "seats",
            "detail": "'x' is no number from 1 to 2147483647; leave it empty for any number",
        }
    ]
    assert len(registry.json("license", "list")["licenses"]) == 2


def test_all_or_nothing_imports_none_unless_all_are_good(registry, file):
    wrong, good = HEAD + "A-1,1,\nB-2,x,\n", HEAD + "A-1,1,\nB-2,2,\n"
    summary = import_(registry, file(wrong), "--all-or-nothing", exit_code=1)
    assert (summary["written"], counts(summary)) == (False, {"new": 1, "wrong": 1})
    assert registry.json("license", "list")["licenses"] == []
    assert counts(import_(registry, file(good), "--all-or-nothing")) == {"new": 2}


@pytest.mark.parametrize("options", [(), ("--all-or-nothing",)])
def test_a_file_may_come_from_a_pipe(registry, options):
    process = registry.start(
        *("license", "import", "-", "--product", "acme-billing", "--json", *options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    said, _ = process.communicate(HEAD + "A-1,1,\n", timeout=patient(60))
    assert counts(json.loads(said)) == {"new": 1}


def test_ndjson_is_known_by_its_name(registry, file):
    path = file('{"key": "A-1", "domains": ["example.com"], "custom": {"tier": 2}}\n', "licenses.ndjson")
    assert counts(import_(registry, path)) == {"new": 1}
    [found] = registry.json("license", "list")["licenses"]
    assert (found["domains"], found["custom"]) == (["example.com"], {"tier": 2})


def test_a_dry_run_tells_the_first_changes_field_by_field(registry, file):
    import_(registry, file(HEAD + "A-1,1,ann@example.com\n"))
    summary = import_(registry, file(HEAD + "A-1,2,bob@example.com\nB-2,,\n"), "--dry-run")
    assert (summary["dry_run"], summary["written"]) == (True, False)
    changed, new = summary["changes"]
    assert (changed["line"], changed["outcome"], changed["before"]["seats"], changed["after"]["seats"]) == (
        2,
        "changed",
        1,
        2,
    )
    assert changed["after"]["customer_id"] == "new: bob@example.com"
    assert (new["line"], new["outcome"], new["before"]) == (3, "new", None)
    assert summary["customers"] == {"new": 1, "changed": 0}
    assert registry.json("customer", "list", "--email", "bob@example.com")["customers"] == []


def test_what_cannot_be_a_file_of_licenses_is_refused(registry, file):
    refused = registry.error("license", "import", file("name,kee\na,b\n"), "--product", "acme-billing")
    assert "did you mean key?" in refused
    assert "no product 'nothing'" in registry.error("license", "import", file(HEAD), "--product", "nothing")


def test_a_file_without_a_good_row_is_not_called_imported(registry, file):
    wrong = file("key,status\nK-1,inactive\n")
    done = registry("license", "import", wrong, "--product", "acme-billing", exit_code=1)
    assert "Nothing was imported; correct the wrong rows" in done.stderr


async def test_rows_far_apart_that_say_different_things_are_told(registry, file):
    """They are in two transactions: 5000 rows are one."""
    rows = "".join(f"K-{n},1,c{n // 2}@example.com\n" for n in range(6_000))
    path = file(HEAD + rows + "K-7,2,\nK-8,1,c4@example.com\n")
    dry = import_(registry, path, "--dry-run", exit_code=1)
    done = import_(registry, path, exit_code=1)
    for summary in (dry, done):
        assert counts(summary) == {"new": 6_000, "repeated": 1, "wrong": 1}
        assert summary["customers"] == {"new": 3_000, "changed": 0}
        assert summary["problems"] == [
            {"line": 6_002, "column": "key", "detail": "line 9 is about the same license, and says otherwise"}
        ]


async def test_of_two_rows_about_a_customer_the_first_holds(registry, file):
    content = "key,customer_email,customer_name\n" + "".join(
        f"K-{n},ann@example.com,{'Ann' if n == 0 else 'Anna'}\n" for n in range(5_500)
    )
    first = import_(registry, file(content))
    again = import_(registry, file(content))
    assert (first["differing_customers"], again["differing_customers"]) == (5_499, 5_499)
    assert counts(again) == {"unchanged": 5_500}
    assert again["customers"] == {"new": 0, "changed": 0}
    [customer] = registry.json("customer", "list")["customers"]
    assert customer["name"] == "Ann"


async def test_an_import_that_was_killed_is_finished_by_another(registry, file, database):
    rows = "".join(f"K-{n},1,c{n}@example.com\n" for n in range(20_000))
    path = file(HEAD + rows)
    process = registry.start(
        *("license", "import", path, "--product", "acme-billing"), stderr=subprocess.DEVNULL
    )
    connection = await asyncpg.connect(database)
    try:
        await until(lambda: connection.fetchval("SELECT count(*) FROM licenses"))
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = await connection.fetchval("SELECT count(*) FROM licenses")
        assert 0 < there < 20_000
        left = import_(registry, path)
        assert counts(left) == {"new": 20_000 - there, "unchanged": there}
        for table, key in [("licenses", "license_id"), ("customers", "customer_id")]:
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 20_000
            assert (
                await connection.fetchval(
                    f"SELECT count(*) FROM {table} AS t JOIN registry_changes AS c ON c.entity_id = t.{key}::text"
                )
                == 20_000
            )
    finally:
        await connection.close()


async def test_a_broken_row_far_inside_a_large_file_costs_itself_alone(registry, tmp_path, database):
    """In chunks of 5 000 rows each, of which none knows the others: 20 of them show what a million rows do."""
    path, broken = tmp_path / "large.csv", 65_432
    with path.open("w") as rows:
        rows.write("key,seats\n")
        rows.writelines(f"K-{n:06},{'many' if n == broken else 1}\n" for n in range(100_000))
    summary = import_(registry, path, exit_code=1)
    assert counts(summary) == {"new": 99_999, "wrong": 1}
    assert [(each["line"], each["column"]) for each in summary["problems"]] == [(broken + 2, "seats")]
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SELECT count(*) FROM licenses WHERE seats = 1") == 99_999
    await connection.close()


# ── export ──────────────────────────────────────────────────────────────────────────────────

AWKWARD = [
    {
        "key": "KEY-ONE-1",
        "status": "suspended",
        "type": "not_for_resale",
        "source": "bundle",
        "source_detail": "=HYPERLINK(1)",
        "order_reference": "A,1;2\n3",
        "edition": '"pro"',
        "seats": 7,
        "overage": "1.25x",
        "customer_email": "ann@example.com",
        "customer_name": 'Ånn, "the" Lee',
        "customer_company": "@ACME",
        "customer_tax_id": "+49 1",
        "customer_technical_contact": "-ops",
        "domains": ["example.com", "*.example.org"],
        "addresses": ["192.0.2.0/24", "2001:db8::1"],
        "directories": ["/srv/a b", "C:\\x y"],
        "free_environments": [],
        "starts_at": "2026-01-01",
        "expires_at": "2027-01-01T10:00:00.123456Z",
        "custom": {"tier": 2, "vip": True, "note": "=1"},
    },
    {"key": "KEY-TWO-2", "customer_name": "'Bob"},
    {"key": "3"},
]


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_an_export_is_imported_again_without_a_change(registry, file, tmp_path, form):
    import_(registry, file("\n".join(map(json.dumps, AWKWARD)), "awkward.ndjson"))
    path = tmp_path / f"export.{form}"
    registry("license", "export", "--product", "acme-billing", "--format", form, "--output", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "KEY-ONE" not in path.read_text()
    assert counts(import_(registry, path)) == {"unchanged": 3}


def test_an_export_is_filtered_and_may_be_parquet(registry, file, tmp_path):
    import_(registry, file("\n".join(map(json.dumps, AWKWARD)), "awkward.ndjson"))
    wanted = ("--product", "acme-billing", "--filter", "source=bundle starts<0d")
    [line] = registry("license", "export", *wanted, "--format", "ndjson").stdout.splitlines()
    assert json.loads(line)["directories"] == ["/srv/a b", "C:\\x y"]
    path = tmp_path / "licenses.parquet"
    registry("export", "licenses", "--product", "acme-billing", "--format", "parquet", "--output", path)
    assert pyarrow.parquet.read_table(path).num_rows == 3
    listed = registry.json("license", "list", "--filter", "source!=bundle", "--status", "active")["licenses"]
    assert len(listed) == 2
    assert "did you mean source?" in registry.error("license", "list", "--filter", "sourse=x", exit_code=2)
    assert "no product x." in registry.error("license", "export", "--product", "x", exit_code=2)


def test_an_edited_export_changes_the_licenses_it_names(registry, file, tmp_path):
    import_(registry, file(HEAD + "A-1,1,ann@example.com\n"))
    exported = registry("license", "export", "--product", "acme-billing").stdout
    edited = file(exported.replace(",1,", ",4,").replace("ann@", "bob@"), "edited.csv")
    assert counts(import_(registry, edited)) == {"changed": 1}
    [found] = registry.json("license", "list")["licenses"]
    assert found["seats"] == 4
    strange = file(ID.sub("00000000-0000-0000-0000-000000000001", exported), "strange.csv")
    summary = import_(registry, strange, exit_code=1)
    assert (summary["problems"][0]["line"], summary["problems"][0]["column"]) == (2, "license_id")


def test_a_dry_run_shows_what_changes_of_customers(registry, file):
    import_(registry, file("key,customer_email,customer_name\nA-1,ann@example.com,Ann\n"))
    path = file("key,customer_email,customer_name\nA-1,Ann@example.com,Ann Lee\nA-2,bob@example.com,Bob\n")
    said = registry("license", "import", path, "--product", "acme-billing", "--dry-run").stdout
    assert "customer ann@example.com: changed\n  name: Ann → Ann Lee\n" in said
    assert "customer bob@example.com: new\n  email: bob@example.com\n  name: Bob\n" in said
    changes = import_(registry, path, "--dry-run")["customer_changes"]
    assert [(each["before"], each["after"]) for each in changes] == [
        ({"name": "Ann"}, {"name": "Ann Lee"}),
        (None, {"email": "bob@example.com", "name": "Bob"}),
    ]


def test_an_import_says_what_may_surprise(registry, file):
    rows = "A-1,10.0.0.5\nA-1,10.0.0.5\na-1,192.0.2.7 ::1\nA\u20111,192.0.2.7\n"
    path = file(f"key,addresses\n{rows}")
    said = registry("license", "import", path, "--product", "acme-billing").stderr
    assert "1 rows repeat an earlier row" in said
    assert "3 rows have private or reserved addresses" in said
    assert "10.0.0.5, ::1" in said
    assert "line 5: the key has letters or hyphens that only look like usual ones." in said
    assert "line 4: the key looks like that of line 2, but is another one." in said
    again = import_(registry, path)
    assert counts(again) == {"unchanged": 3, "repeated": 1}
    assert again["never_matching"]["rows"] == 3


@pytest.mark.parametrize("options", [("--mapping", "whmcs"), ("--mapping", "whmcs", "--enforce-addresses")])
def test_addresses_of_another_system_are_enforced_where_that_is_asked_for(registry, file, options):
    path = file("licensekey,validip\nWH-0001-AAAA,192.0.2.7\n")
    import_(registry, path, *options)
    found = registry.json("license", "show", "--product", "acme-billing", "--key", "WH-0001-AAAA")
    assert (found["addresses"], found["addresses_enforced"]) == (["192.0.2.7"], len(options) == 3)


def test_a_date_is_shown_as_it_was_said_in_the_time_zone_of_the_product(registry):
    registry("product", "change", "acme-billing", "--time-zone", "Pacific/Auckland")
    assert registry.json("product", "list")["products"][0]["time_zone"] == "Pacific/Auckland"
    made = registry.json("license", "add", "A-1", "--product", "acme-billing", "--expires-at", "2026-11-29")
    assert (made["expires_at"], made["last_day"]) == ("2026-11-29T11:00:00Z", "2026-11-29")
    assert "expires_at         2026-11-29\n" in registry("license", "show", made["license_id"]).stdout
    changed = registry("license", "change", made["license_id"], "--expires-at", "2026-12-24").stdout
    assert changed == "expires_at: 2026-11-29 → 2026-12-24\n"
    assert "2026-11-29 → 2026-12-24" in registry("license", "history", made["license_id"]).stdout
    assert "2026-12-24" in registry("license", "list").stdout
    refused = registry.error("product", "change", "acme-billing", "--time-zone", "Mars/Base")
    assert "'Mars/Base' is not a time zone; write its IANA name" in refused


def test_csv_for_people_has_a_mark_and_csv_for_programs_has_none(registry, file):
    import_(registry, file(HEAD + "A-1,1,ann@example.com\n"))
    for command in (("license", "export"), ("export", "licenses", "--format", "csv")):
        marked = registry(*command, "--product", "acme-billing").stdout
        assert marked == "\ufeff" + registry(*command, "--product", "acme-billing", "--no-bom").stdout
    assert registry("export", "licenses", "--format", "ndjson").stdout.startswith("{")


# ── one by one ──────────────────────────────────────────────────────────────────────────────


def test_a_license_is_added_changed_and_found_with_its_history(registry):
    added = registry.json(
        *("license", "add", "ACME-1234-7Q2K", "--product", "acme-billing", "--seats", "2"),
        *("--customer-email", "ann@example.com", "--custom", "deal=Q4", "--reason", "a gift"),
    )
    assert (added["key_hint"], added["seats"], added["custom"]) == ("7Q2K", 2, {"deal": "Q4"})
    changed = registry.json(
        *(
            "license",
            "change",
            added["license_id"],
            "--status",
            "revoked",
            "--seats",
            "",
            "--custom",
            "deal=",
        ),
        *("--actor", "api:shop", "--reason", "charged back"),
    )
    assert (changed["outcome"], changed["status"], changed["seats"]) == ("changed", "revoked", None)
    found = registry.json("license", "show", "--product", "acme-billing", "--key", "ACME-1234-7Q2K")
    assert found == registry.json("license", "show", added["license_id"])
    newest, first = registry.json("license", "history", added["license_id"])["changes"]
    assert (newest["actor"], newest["reason"]) == ("api:shop", "charged back")
    assert newest["after"] == {"status": "revoked", "seats": None, "custom": {}}
    assert re.fullmatch(r"cli:\S+", first["actor"])
    assert (first["reason"], first["before"]) == ("a gift", None)
    assert "ACME-1234" not in registry("license", "list").stdout


def test_a_key_may_be_kept_from_other_users_of_the_machine(registry):
    process = registry.start(
        *("license", "add", "-", "--product", "acme-billing", "--json"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    said, _ = process.communicate("ACME-1234-7Q2K\n", timeout=patient(60))
    assert json.loads(said)["key_hint"] == "7Q2K"


def test_wrong_fields_are_told_by_the_names_of_their_options(registry):
    nobody = "00000000-0000-0000-0000-000000000001"
    said = registry.error("license", "change", nobody, "--status", "Revoked", "--seats", "0", exit_code=2)
    assert "--status: 'Revoked' is none of" in said
    assert "--seats: '0' is no number" in said
    assert "NAME=VALUE" in registry.error("license", "change", nobody, "--custom", "x", exit_code=2)
    assert "no license 0000" in registry.error("license", "change", nobody, "--status", "revoked")
    assert "Give an ID, or" in registry.error("license", "show", exit_code=2)
    assert "on one line" in registry.error("license", "change", nobody, "--reason", "a\nb", exit_code=2)


def test_a_key_is_added_once(registry):
    registry("license", "add", "ACME-1234-7Q2K", "--product", "acme-billing")
    assert "exists already" in registry.error("license", "add", "ACME-1234-7Q2K", "--product", "acme-billing")
    assert "No license of this product" in registry.error(
        "license", "show", "--product", "acme-billing", "--key", "ACME-OTHER"
    )
    assert "The key is empty" in registry.error(
        "license", "add", " ", "--product", "acme-billing", exit_code=2
    )


def test_lists_go_on_where_they_ended(registry, file):
    import_(registry, file(HEAD + "".join(f"K-{n},1,c{n}@example.com\n" for n in range(3))))
    for what in ("license", "customer"):
        done = registry(what, "list", "--limit", "2")
        after = re.search(rf"--after ({ID.pattern})", done.stderr)[1]
        assert len(registry.json(what, "list", "--after", after)[f"{what}s"]) == 1


def test_customers_are_added_changed_and_shown(registry):
    ann = registry.json("customer", "add", "--email", "Ann@example.com", "--custom", "crm=17")
    changed = registry.json(
        "customer", "change", ann["customer_id"], "--company", "ACME", "--reason", "a call"
    )
    assert (changed["email"], changed["company"], changed["custom"]) == (
        "ann@example.com",
        "ACME",
        {"crm": "17"},
    )
    assert registry.json("customer", "show", ann["customer_id"]) == changed
    newest, _ = registry.json("customer", "history", ann["customer_id"])["changes"]
    assert (newest["reason"], newest["after"]) == ("a call", {"company": "ACME"})
    assert "exists already" in registry.error("customer", "add", "--email", "ann@example.com")
    assert "needs an e-mail" in registry.error("customer", "add")
    assert "ACME" in registry("customer", "list").stdout


def test_editions_and_releases_are_kept(registry):
    assert registry("edition", "add", "acme-billing", "pro", "Professional").stdout == "new\n"
    assert registry("edition", "add", "acme-billing", "pro", "Professional").stdout == "unchanged\n"
    assert registry.json("edition", "list", "acme-billing") == {
        "editions": [{"edition": "pro", "name": "Professional"}]
    }
    registry("release", "add", "acme-billing", "7.2", "--date", "2026-11-01", "--build", "a" * 64)
    added = registry.json("release", "add", "acme-billing", "7.2", "--build", "b" * 64)
    assert (added["outcome"], added["builds"]) == ("changed", ["a" * 64, "b" * 64])
    assert "2026-11-01" in registry("release", "list", "acme-billing").stdout
    assert "It is empty" in registry.error("edition", "add", "acme-billing", " ", "x", exit_code=2)


def test_who_changes_is_the_user_of_the_operating_system_whatever_the_environment_says(registry):
    made = registry.json("license", "add", "ACME-1234", "--product", "acme-billing")
    registry("license", "change", made["license_id"], "--seats", "1", USER="mallory", LOGNAME="mallory")
    import pwd

    name = pwd.getpwuid(os.getuid()).pw_name
    changes = registry.json("license", "history", made["license_id"])["changes"]
    assert {change["actor"] for change in changes} == {f"cli:{name}"}
