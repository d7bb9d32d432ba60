"""The commands "audit …", and what other commands record."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from audit_log import entry, without_triggers
from test_cli_surface import EVERY

from telemetry_server.cli.recorded_commands import ACTIONS
from telemetry_server.store.access import audit

RECORDED_BY_THE_REGISTRY = {
    "customer add",
    "customer change",
    "edition add",
    "license add",
    "license change",
    "license import",
    "release add",
}
CHANGES_RECORDED_BY_THE_STORE = RECORDED_BY_THE_REGISTRY | {
    *("privacy access", "privacy erase", "privacy level", "privacy link", "privacy notice add"),
    *("privacy disclosures add", "privacy hold add", "privacy hold confirm", "privacy hold export"),
    *("privacy hold release", "privacy request add", "privacy request correct", "privacy request extend"),
    *("privacy request owner", "privacy request set", "privacy restrict", "privacy unrestrict"),
    *("investigate export", "support begin", "support close", "support open"),
    *("user deactivate", "user invite", "user role"),
}
SHOWS_NO_PERSONAL_DATA = {
    "audit checkpoint",
    "audit verify",
    "audit witnessed",
    "bundle take",
    "cluster add-node",
    "cluster distribute",
    "cluster rebalance",
    "cluster remove-node",
    "cluster status",
    "config show",
    "db import",
    "db upgrade",
    "doctor",
    "edition list",
    "geoip install",
    "geoip reload",
    "geoip status",
    "import",
    "investigate fit",
    "investigate measure",
    "investigate rules",
    "keyring show",
    "migrate",
    "privacy notice list",
    "privacy notice show",
    "privacy register",
    "product list",
    "release list",
    "rollup rebuild",
    "run",
    "serve",
    "simulate",
    "support keys list",
    "support keys root",
    "support keys sign",
}
"""Neither do they give access, nor do they change what a person decides."""


def test_every_command_is_recorded_or_shows_no_personal_data():
    assert set(ACTIONS) | CHANGES_RECORDED_BY_THE_STORE | SHOWS_NO_PERSONAL_DATA == set(EVERY)
    assert set(ACTIONS) & (CHANGES_RECORDED_BY_THE_STORE | SHOWS_NO_PERSONAL_DATA) == set()


@pytest.fixture
def keyring(operator):
    """Only a first start makes a keyring; a license is added with it."""
    operator("product", "add", "Billing")
    operator("license", "add", "AAAA-1", "--product", "billing")
    return operator.data / "keyring.json"


def entries(operator, *options):
    found = operator.json("audit", "list", *options)["entries"]
    return [each for each in found if each["action"] != "audit.list"]


def test_commands_record_who_ran_them(operator, keyring):
    made = operator.json("customer", "add", "--email", "a@example.com", "--actor", "maria", SUDO_USER="ann")
    shown = ("customer", "show", made["customer_id"])
    operator(*shown, SUDO_USER="ann")
    operator("customer", "list", "--email", "a@example.com")
    operator("token", "create", "--role", "viewer", "--label", "grafana")
    operator("export", "licenses")
    operator("license", "show", "--product", "billing", "--key", "AAAA-1")
    found = entries(operator)
    assert [each["action"] for each in found] == [
        "license.view",
        "installation.export",
        "token.create",
        "customer.list",
        "customer.view",
        "customer.add",
        "license.add",
        "product.add",
    ]
    view, added = found[4], found[5]
    assert view["actor"] == added["actor"]
    assert view["actor"].startswith("cli:")
    assert view["actor"].endswith(" (sudo ann)")
    assert (view["subject_id"], added["details"]["history_as"]) == (made["customer_id"], "maria")
    assert found[2]["details"] == {
        "command": "token create",
        "options": {"role": "viewer", "label": "grafana"},
    }
    assert "AAAA" not in json.dumps(found)


def test_a_change_that_fails_leaves_no_entry(operator, keyring):
    operator.error("product", "add", "Billing")
    assert len(entries(operator, "--action", "product")) == 1


def test_list_filters(operator, keyring):
    assert [each["leaf"] for each in entries(operator, "--action", "license.add")] in ([None], [1])
    assert entries(operator, "--until", "2020-01-01") == []
    text = operator("audit", "list", "--subject-kind", "product").stdout
    assert "product.add" in text
    assert "license.add" not in text


def test_verify_says_intact_or_names_the_first_bad_entry(operator, keyring, tmp_path):
    checkpoints = tmp_path / "elsewhere"
    operator.environment["TELEMETRY_AUDIT_CHECKPOINTS"] = str(checkpoints)
    signed = operator.json("audit", "checkpoint")
    [file] = checkpoints.glob("*/*.checkpoint")
    assert file.read_text() == signed["checkpoint"]
    result = operator.json("audit", "verify", "--checkpoint", file)
    assert (result["intact"], result["entries"], result["first_bad"]) == (True, 2, None)
    assert result["root"] == signed["root"]
    assert operator("audit", "verify").stdout.startswith("The audit log is intact: 2 entries")

    alter(operator, "UPDATE audit_entries SET actor = 'cli:other' WHERE action = 'license.add'")
    result = operator.json("audit", "verify", exit_code=3)
    assert (result["intact"], result["first_bad"]["leaf"]) == (False, 1)
    assert result["first_bad"]["problem"] == "its entry does not fit its leaf"
    said = operator("audit", "verify", exit_code=3).stdout
    assert said == "The audit log is not intact. First bad entry 1: its entry does not fit its leaf.\n"


def test_a_rewritten_log_is_found_through_a_checkpoint_from_outside_alone(operator, keyring, tmp_path):
    note = operator.json("audit", "checkpoint")["checkpoint"]
    (tmp_path / "mail.eml").write_text(f"Subject: checkpoint\r\n\r\n{note}".replace("\n", "\r\n"))
    alter(
        operator,
        "TRUNCATE audit_entries, audit_waiting, audit_leaves, audit_nodes, audit_checkpoints",
        entry(),
    )
    alter(operator, "SELECT 1", entry(2))
    assert operator.json("audit", "verify")["intact"]
    result = operator.json("audit", "verify", "--checkpoint", tmp_path / "mail.eml", exit_code=3)
    assert (result["first_bad"]["leaf"], result["first_bad"]["last"]) == (0, 1)


def test_a_file_without_a_checkpoint_of_this_log_says_nothing_about_it(operator, keyring, tmp_path):
    (tmp_path / "note").write_text("nothing")
    said = operator.error("audit", "verify", "--checkpoint", tmp_path / "note")
    assert "has no checkpoint in it" in said


def test_a_proof_is_checked_with_the_script_in_the_documentation(operator, keyring, tmp_path):
    made = operator.json("audit", "prove", "0")
    (tmp_path / "entry.tlog-proof").write_text(made["proof"])
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    script = page.partition("```python\n")[2].partition("```")[0]
    command = [sys.executable, "-c", script, tmp_path / "entry.tlog-proof", made["key"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == made["entry"]
    assert made["entry"]["action"] == "product.add"

    lines = made["proof"].splitlines()
    extra = json.loads(base64.b64decode(lines[1].split()[1]))
    extra["content"] = extra["content"].replace("product.add", "product.xxx")
    lines[1] = f"extra {base64.b64encode(json.dumps(extra).encode()).decode()}"
    (tmp_path / "entry.tlog-proof").write_text("\n".join(lines) + "\n")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    found = entries(operator, "--action", "audit.view")
    assert [each["subject_id"] for each in found] == ["0"]


def test_a_proof_of_no_entry(operator, keyring):
    assert "no such entry" in operator.error("audit", "prove", "77")
    assert "neither the number nor the id" in operator.error("audit", "prove", "x", exit_code=2)


def alter(operator, statement, *recorded):
    """Runs a statement as someone with the rights of the owner would, and records entries."""
    import asyncio

    async def run():
        connection = await asyncpg.connect(operator.environment["TELEMETRY_DATABASE_URL"])
        await without_triggers(connection)
        await connection.execute(statement)
        for each in recorded:
            await audit.record(connection, each)
        await connection.close()

    asyncio.run(run())
