"""The figures of rules and score on a small simulated fleet of a seed that was not fitted on: they may not fall. And the
commands that scripts rely on.
"""

import asyncio
from datetime import UTC, datetime

import asyncpg
import orjson
import pytest
from click.testing import CliRunner

from telemetry_server.cli import main
from telemetry_server.investigate.score import read_ratios
from telemetry_server.keyring import open_keyring
from telemetry_server.simulate.first_world import FIRST
from telemetry_server.simulate.making import Order, make_fleet

END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
ORDER = Order("World", installations=900, pings=20_000, days=90, seed=301, end=END, world=FIRST, misuse=0.1)


@pytest.fixture(scope="module")
def command(cluster, template, tmp_path_factory):
    """Runs a command on the database of the fleet, with its truth in `truth.json`; gives its JSON."""
    home = tmp_path_factory.mktemp("world")
    keyring = open_keyring(home / "keyring.json")

    async def happen():
        await cluster.copy(template, "small_world")
        connection = await asyncpg.connect(cluster.dsn("small_world"))
        made = await make_fleet(connection, keyring, ORDER, lambda *_: None)
        (home / "truth.json").write_bytes(orjson.dumps(made.truth))
        await connection.close()

    def run(*arguments):
        environment = {
            "TELEMETRY_DATABASE_URL": cluster.dsn("small_world"),
            "TELEMETRY_DATA": str(home),
            "TELEMETRY_DETECTION_BASE_RATE": "1000",
        }
        words = [str(home / each) if each.endswith((".json", ".toml")) else each for each in arguments]
        done = CliRunner().invoke(main, words, env=environment, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    asyncio.run(happen())
    run("run", "find suspicions")
    yield run
    asyncio.run(cluster.drop("small_world"))


@pytest.fixture(scope="module")
def figures(command):
    return orjson.loads(
        command("investigate", "measure", "--product", "world", "--truth", "truth.json", "--json")
    )


def test_cases_are_listed_by_score_with_their_rules_and_installations(command):
    cases = orjson.loads(command("investigate", "cases", "--product", "world", "--json"))["cases"]
    scores = [case["score"] for case in cases]
    assert scores == sorted(scores, reverse=True)
    assert {"id", "score", "subject", "rules", "installations"} <= cases[0].keys()
    assert all(case["rules"] and case["installations"] for case in cases)
    assert "of 100" in command("investigate", "cases", "--product", "world")


def test_a_rule_is_tried_with_other_parameters_and_nothing_is_kept(command):
    def found(*more):
        tried = ("investigate", "try", "over_seats", "--product", "world", *more, "--json")
        return {each["subject_id"] for each in orjson.loads(command(*tried))["findings"]}

    before = command("investigate", "cases", "--product", "world", "--json")
    assert found() < found("--set", "days=0", "--set", "leeway=0")
    assert command("investigate", "cases", "--product", "world", "--json") == before


def test_rules_are_listed_with_what_they_do_not_mean(command):
    rules = orjson.loads(command("investigate", "rules", "--json"))["rules"]
    assert all(rule["does_not_mean"] and rule["falsepositives"] for rule in rules)


def test_ratios_are_counted_of_all_owners(command, tmp_path):
    command("investigate", "fit", "--product", "world", "--truth", "truth.json", "--to", f"{tmp_path}/ratios")
    patterns = read_ratios((tmp_path / "ratios").read_text()).patterns
    owners = {sum(count.misuse + count.honest for count in table.values()) for table in patterns.values()}
    assert len(owners) == 1
    assert owners.pop() > 300


def test_cases_called_misuse_are_misuse(figures):
    assert figures["cases"]["precision"]["share"] >= 0.97


def test_misuse_that_lasts_is_found(figures):
    assert figures["cases"]["recall_of_lasting"]["share"] >= 0.8


def test_the_first_of_the_queue_are_misuse(figures):
    assert figures["cases"]["precision_of_first"]["share"] == 1


def test_scores_mean_what_they_say(figures):
    assert figures["cases"]["calibration_error"] <= 0.08


def test_a_live_clone_is_seen_within_some_intervals(figures):
    assert figures["live_clone"]["median_intervals"] <= 6


def test_the_joint_patterns_are_no_worse_than_what_they_were_measured_against(figures):
    formulas = figures["formulas"]
    errors = {name: found["calibration_error"] for name, found in formulas.items()}
    assert errors["joint patterns"] == min(errors.values())
