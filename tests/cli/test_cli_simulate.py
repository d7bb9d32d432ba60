"""The command "simulate": loud, repeatable, and careful with what is real."""

import json
import stat
from collections import Counter

UNTIL = "2026-11-24T10:00:00Z"
SMALL = ("--installations", "60", "--pings", "720", "--until", UNTIL)


def rows(operator):
    document = operator("export", "pings").stdout.splitlines()
    return {line for line in document if line}


def test_a_fleet_is_made_and_said_to_be_made_up(operator, tmp_path):
    truth = tmp_path / "truth.json"
    done = operator("simulate", "--product", "Demo Suite", *SMALL, "--truth", truth, "--json")
    made = json.loads(done.stdout)
    assert "SIMULATED DATA: “Demo Suite” has no real" in done.stderr
    assert (made["product"], made["simulated"], made["installations"]) == ("demo-suite", True, 60)
    assert len(rows(operator)) == made["pings"]
    document = json.loads(truth.read_text())
    assert {kind: len(where) for kind, where in document["planted"].items()} == made["planted"]
    assert document | {"planted": made["planted"]} == made
    assert stat.S_IMODE(truth.stat().st_mode) == 0o600
    assert "60" in operator("simulate", "--product", "Demo Suite", *SMALL, "--replace").stdout


def test_two_processes_make_the_same_rows_of_one_order(operator):
    order = ("simulate", "--product", "Demo Suite", "--seed", "5", *SMALL, "--replace")
    operator(*order, PYTHONHASHSEED="1")
    once = rows(operator)
    operator(*order, PYTHONHASHSEED="2")
    assert rows(operator) == once


def test_what_cannot_be_made_is_told_in_a_sentence(operator):
    operator("product", "add", "Billing")
    assert "is a real one" in operator.error("simulate", "--product", "Billing", *SMALL).splitlines()[-1]
    operator("simulate", "--product", "Demo Suite", *SMALL)
    assert "--replace makes it again" in operator.error("simulate", "--product", "Demo Suite", *SMALL)
    assert "No slug can be made" in operator.error("simulate", "--product", "…", *SMALL)
    assert "not in the range" in operator.error(
        "simulate", "--product", "x", "--installations", "1", exit_code=2
    )
    too_few = ("--installations", "100", "--pings", "200")
    assert "at least 10" in operator.error("simulate", "--product", "x", *too_few)


def test_a_fleet_is_counted_when_the_command_ends(operator):
    operator("simulate", "--product", "Demo Suite", *SMALL)
    counted = operator("export", "fleet-days", "--product", "demo-suite").stdout.splitlines()
    assert counted
    operator("simulate", "--product", "Another", *SMALL, "--no-counts")
    assert not operator("export", "fleet-days", "--product", "another").stdout.splitlines()


def test_what_was_made_fits_a_terminal(operator):
    lines = operator("simulate", "--product", "Demo Suite", *SMALL).stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert any("over_seats" in line for line in lines)


def test_a_world_is_made_with_its_truth(operator, tmp_path):
    truth = tmp_path / "truth.json"
    order = (
        "simulate",
        "--product",
        "Demo Suite",
        *SMALL,
        "--no-counts",
        "--world",
        "first",
        "--misuse",
        "0.4",
    )
    made = json.loads(operator(*order, "--truth", truth, "--json").stdout)
    document = json.loads(truth.read_text())
    assert (document["world"], document["seed"], document["misuse_share"]) == ("first", 1, 0.4)
    counted = Counter(entry["story"] for entry in (*document["misuse"], *document["honest"]))
    assert counted == made["planted"]
    assert document["misuse"]
    for entry in document["misuse"]:
        assert entry["installations"]
        assert entry["from"] < entry["to"]
