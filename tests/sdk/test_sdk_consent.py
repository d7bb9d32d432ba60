"""Consent that changes while the host runs, and being forgotten: at once, everywhere, and kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import license_telemetry
import pytest
from license_telemetry._uploader import Delivery
from license_telemetry._wakeups import NOW, SOON
from license_telemetry.cli import main
from license_telemetry.testing import dropped, page, status, wrong_receipt
from patience import patient, wait_until

CLIENT = Path(license_telemetry.__file__).parent.parent
FLUSH_SECONDS = patient(20)
DAY = 86_400


def in_another_process(server, tmp_path, code):
    """What it prints."""
    head = (
        "from license_telemetry import Telemetry\n"
        f"telemetry = Telemetry({server.endpoint!r}, {server.product_key!r}, '7.2.1',"
        f" state_dir={str(tmp_path / 'state')!r})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    done = subprocess.run(
        [sys.executable, "-c", head + code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=patient(60),
    )
    assert done.stderr == ""
    return done.stdout.strip()


def counted(server, name):
    return sum(made.get("usage", {}).get("features", {}).get(name, 0) for made in server.pings)


# ── level ───────────────────────────────────────────────────────────────────────────────────


def test_a_lowered_level_holds_at_once_and_drops_what_was_counted_before(telemetry, server):
    one = telemetry()
    one.feature("before", 5)
    one.level = "license"
    one.feature("after", 5)
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert one.level == "license"
    assert {made["privacy"]["level"] for made in server.pings} == {"license"}
    assert not any({"usage", "os", "host", "virtualization"} & set(made) for made in server.pings)


def test_a_lowered_level_holds_in_other_processes_and_after_a_restart(telemetry, server, tmp_path):
    one = telemetry()
    one.level = "system"
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    code = "telemetry.feature('a', 3)\ntelemetry.ping()\nassert telemetry.flush(20)\nprint(telemetry.level)"
    assert in_another_process(server, tmp_path, code) == "system"
    assert counted(server, "a") == 0
    assert server.pings[-1]["privacy"]["level"] == "system"
    one.level = "usage"
    one.feature("b", 2)
    assert one.flush(FLUSH_SECONDS)
    assert (counted(server, "a"), counted(server, "b")) == (0, 2)


def test_what_is_queued_when_the_level_is_lowered_is_lowered_too(bench, server):
    here = bench()
    here.feature("a", 3)
    here.ping()
    server.next_pings(dropped())  # packed and sent, but nothing came back
    here.engine.deliver(NOW)
    here.say("level", value="license")
    here.engine.collect()
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert counted(server, "a") == 0
    assert [set(made) & {"usage", "os"} for made in server.pings] == [set()]
    assert b"usage" not in json.dumps(server.pings).encode()


@pytest.mark.parametrize("nonsense", ["Usage", "", None, 3, "all"])
def test_a_level_that_is_none_changes_nothing_and_is_reported(telemetry, nonsense):
    one = telemetry(level="system")
    one.level = nonsense
    assert one.level == "system"
    assert "is none of license, system, usage" in one.status()["ignored_why"][0]


def test_the_environment_caps_what_is_set_at_run_time(telemetry, server, monkeypatch):
    monkeypatch.setenv("LICENSE_TELEMETRY_LEVEL", "system")
    one = telemetry()
    one.level = "usage"
    one.feature("a")
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert (one.level, counted(server, "a")) == ("system", 0)


# ── off and on ──────────────────────────────────────────────────────────────────────────────


def test_switched_off_and_on_again_nothing_of_before_is_sent(telemetry, server):
    one = telemetry()
    one.feature("before", 5)
    one.enabled = False
    one.feature("while off")
    one.feature("off", 5)
    one.license(status="licensed")
    one.ping()
    assert one.enabled is False
    assert not one.flush(0.5)
    assert server.received == []
    one.enabled = True
    one.feature("after", 2)
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert [counted(server, name) for name in ("before", "off", "after")] == [0, 0, 2]
    assert {made["license"]["status"] for made in server.pings} == {"unlicensed"}


def test_off_in_one_process_is_off_in_the_others_and_on_again(telemetry, server, tmp_path):
    one = telemetry()
    one.feature("mine")
    assert one.flush(FLUSH_SECONDS)
    before = len(server.received)
    assert in_another_process(server, tmp_path, "telemetry.enabled = False\ntelemetry.close()") == ""
    one.feature("mine", 7)
    one.ping()
    one.flush(FLUSH_SECONDS)
    assert one.enabled is False
    assert [request.path for request in server.received[before:]] == []
    code = "telemetry.enabled = True\ntelemetry.feature('theirs')\nprint(telemetry.flush(20))"
    assert in_another_process(server, tmp_path, code) == "True"
    assert (counted(server, "mine"), counted(server, "theirs")) == (1, 1)


def test_the_command_switches_off_what_was_counted(bench, server, tmp_path, capsys):
    here = bench()
    here.feature("a", 3)
    here.ping()
    options = ["--state-dir", str(tmp_path / "state"), "--product-key", server.product_key]
    here.feature("a", 4)
    assert main(["off", *options]) == 0
    assert main(["on", *options]) == 0
    here.feature("a", 5)
    here.ping()
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert counted(server, "a") == 5
    assert "Switched on" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["off", "on"])
def test_the_command_does_not_claim_a_switch_that_is_not_kept(capsys, word):
    assert main([word, "--state-dir", "/proc/nothing"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"Not switched {word}: nothing can be kept in /proc/nothing" in said.err


def test_the_command_says_that_a_directory_is_new_and_that_nothing_is_sent(tmp_path, capsys):
    options = ["--state-dir", str(tmp_path / "typo")]
    assert main(["off", *options]) == 0
    assert "No software has used this directory yet" in capsys.readouterr().err
    assert main(["preview", *options]) == 0
    assert capsys.readouterr().err == "Nothing is sent now: it was switched off here.\n"


# ── being forgotten ─────────────────────────────────────────────────────────────────────────


def test_forgetting_switches_off_and_asks_the_server(telemetry, server):
    one = telemetry()
    one.feature("a")
    assert one.flush(FLUSH_SECONDS)
    old = server.enrolments[0]["installation_id"]
    one.forget("the customer asked")
    wait_until(lambda: one.status()["installation_id"] is None)
    assert server.forgotten == [{"installation_id": old, "reason": "the customer asked"}]
    assert one.enabled is False
    one.enabled = True
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert server.enrolments[1]["installation_id"] != old
    assert server.enrolments[1]["forked_from"] is None
    assert server.pings[-1]["sequence"] == 1


@pytest.mark.parametrize(
    "fault",
    [
        *(status(code) for code in (400, 401, 403, 404, 405, 410, 429, 500, 501, 503)),
        page(),
        page(202),
        dropped(),
        wrong_receipt(),
    ],
)
def test_only_a_receipt_ends_the_wish_and_it_is_sent_again_a_day_later(bench, server, fault):
    here = bench()
    here.ping()
    here.engine.deliver(SOON)
    here.say("forget", reason="")
    here.engine.collect()
    server.next_forgettings(fault)
    assert here.engine.deliver(SOON) is Delivery.WAITING
    assert here.status["installation_id"] is not None
    assert "not acknowledged" in here.status["why_off"]
    here.clock.advance(DAY + 60)
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert here.status["installation_id"] is None
    assert len(server.forgotten) >= 1


def test_a_copy_that_never_enrolled_has_nothing_to_be_forgotten(bench, server):
    here = bench()
    here.feature("a")
    here.say("forget", reason="")
    here.engine.collect()
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert (server.received, here.status["enabled"]) == ([], False)


def test_the_command_asks_to_be_forgotten(bench, server, tmp_path, capsys):
    here = bench()
    here.ping()
    here.engine.deliver(SOON)
    options = ["--state-dir", str(tmp_path / "state"), "--product-key", server.product_key]
    options += ["--endpoint", server.endpoint]
    server.next_forgettings(status(501))
    assert main(["forget", *options, "--reason", "we move"]) == 1
    assert "waits here and is sent again" not in capsys.readouterr().out
    assert main(["forget", *options, "--reason", "we move"]) == 0
    assert server.forgotten[0]["reason"] == "we move"
    assert main(["forget", *options]) == 0
    assert "knows no installation of this state directory" in capsys.readouterr().out
