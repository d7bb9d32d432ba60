"""Consent that changes while the host runs, and being forgotten: at once, everywhere, and kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import license_telemetry
import pytest
from license_telemetry import Telemetry
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
    assert {made["license"]["status"] for made in server.pings} == {"licensed"}  # still so, and said once


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


def options(server, tmp_path):
    return [
        *("--state-dir", str(tmp_path / "state"), "--endpoint", server.endpoint),
        *("--product-key", server.product_key),
    ]


def test_the_command_on_while_on_drops_neither_counts_nor_claim(telemetry, server, tmp_path):
    one = telemetry()
    one.license("licensed", key="ABCD-EFGH-1234")
    one.feature("a", 10)
    assert main(["on", *options(server, tmp_path)]) == 0
    one.feature("a", 5)
    one.license("licensed", key="ABCD-EFGH-1234")
    assert one.flush(FLUSH_SECONDS)
    assert counted(server, "a") == 15
    assert server.pings[-1]["license"]["status"] == "licensed"


def test_a_claim_said_before_the_command_off_is_known_after_on(bench, server, tmp_path):
    """The process has ended in between: it can't say it again."""
    here = bench()
    here.say("license", status="licensed")
    here.feature("a")
    assert main(["off", *options(server, tmp_path)]) == 0
    assert main(["on", *options(server, tmp_path)]) == 0
    here.ping()
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert (server.pings[-1]["license"]["status"], counted(server, "a")) == ("licensed", 0)


def test_what_the_host_said_of_its_license_before_consent_is_said_when_it_is_given(telemetry, server):
    one = telemetry(enabled=False)
    one.license("licensed", key="ABCD-EFGH-1234")
    one.feature("before")
    one.enabled = True
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert {(made["license"]["status"], made["license"]["key_hint"]) for made in server.pings} == {
        ("licensed", "1234")
    }
    assert counted(server, "before") == 0


def test_consent_withdrawn_and_given_again_needs_no_second_license_call(telemetry, server):
    one = telemetry()
    one.license("licensed")
    one.enabled = False
    one.enabled = True
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    one.forget()
    wait_until(lambda: server.forgotten)
    one.enabled = True
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert server.pings[-1]["sequence"] == 1
    assert {made["license"]["status"] for made in server.pings} == {"licensed"}


def test_a_license_of_another_process_outlives_consent_that_changes_at_the_same_moment(bench, server):
    here, other = bench(), bench()
    other.say("license", status="licensed")
    here.clock.advance(1)
    here.say("enabled", value="no")
    here.engine.collect()
    here.clock.advance(1)
    here.say("enabled", value="yes")
    here.engine.collect()
    here.ping()
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert server.pings[-1]["license"]["status"] == "licensed"
    here.say("enabled", value="no")
    here.engine.collect()
    other.say("license", status="expired")
    here.clock.advance(1)
    here.say("enabled", value="yes")  # both in one harvest
    here.engine.collect()
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert server.pings[-1]["license"]["status"] == "expired"


def test_the_lowest_level_of_all_open_clients_holds(telemetry, server):
    low = telemetry(level="license")
    high = telemetry()
    high.feature("a")
    high.ping()
    assert high.flush(FLUSH_SECONDS)
    assert (low.level, high.level, high.status()["level"]) == ("license", "license", "license")
    assert not any({"usage", "os", "host"} & set(made) for made in server.pings)
    high.level = "usage"  # of this client: the other one still asks for less
    assert high.level == "license"
    low.close()
    assert high.level == "usage"
    high.feature("a")
    assert high.flush(FLUSH_SECONDS)
    assert counted(server, "a") == 1


def test_a_client_that_is_off_has_it_off_for_all_of_the_process(telemetry, server):
    one = telemetry()
    one.license("licensed")
    assert one.flush(FLUSH_SECONDS)
    one.feature("before", 10)
    other = telemetry(enabled=False)
    one.feature("while.off", 10)
    one.ping()
    assert (one.enabled, other.enabled, one.flush(1)) == (False, False, False)
    assert one.status()["why_off"] == "another client of this process has it switched off"
    assert one.status()["enabled"] is False
    third = telemetry()
    assert third.enabled is False
    other.close()
    assert (one.enabled, third.enabled) == (True, True)
    one.feature("after")
    assert one.flush(FLUSH_SECONDS)
    assert [counted(server, name) for name in ("before", "while.off", "after")] == [0, 0, 1]


def test_a_process_that_is_off_leaves_what_others_count_to_them(bench, server):
    other, off = bench(), bench(enabled=False)
    other.feature("theirs", 3)
    other.say("license", status="licensed")
    assert off.engine.collect()
    other.ping()
    assert other.engine.deliver(SOON) is Delivery.EMPTY
    assert (counted(server, "theirs"), server.pings[-1]["license"]["status"]) == (3, "licensed")


def test_a_client_without_a_product_key_switches_nothing_off(telemetry, server, tmp_path, monkeypatch):
    one = telemetry()
    monkeypatch.setenv("LICENSE_TELEMETRY_STATE_DIR", str(tmp_path / "state"))
    lost = Telemetry()
    assert lost._background is one._background
    assert (one.enabled, lost.enabled, lost.status()["enabled"]) == (True, False, False)
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert server.pings[-1]["service"]["version"] == "7.2.1"


@pytest.mark.parametrize("value", ["no", "yes", 1, 0, None, "", []])
def test_what_is_no_bool_switches_nothing(telemetry, value):
    one, off = telemetry(), telemetry(enabled=False, state_dir="other")
    one.enabled = value
    off.enabled = value
    assert (one.enabled, off.enabled) == (True, False)
    assert "must be True or False" in one.status()["ignored_why"][0]


def test_off_by_the_command_is_seen_within_a_second_and_by_the_thread_within_a_minute(
    telemetry, server, tmp_path, monkeypatch
):
    monkeypatch.setattr("license_telemetry._background.LONGEST_SLEEP", 1.0)
    one = telemetry()
    one.license("licensed")
    assert one.flush(FLUSH_SECONDS)
    assert one.enabled
    assert main(["off", *options(server, tmp_path)]) == 0
    wait_until(lambda: not one.enabled, 5)
    wait_until(lambda: not one._background.consent.is_counting)
    started = telemetry()
    assert started.enabled is False
    started.enabled = True
    assert started.enabled is False
    assert "has the last word" in "".join(started.status()["ignored_why"])
    assert main(["on", *options(server, tmp_path)]) == 0
    wait_until(lambda: one.enabled, 5)
    wait_until(lambda: one._background.consent.is_counting)
    assert main(["off", *options(server, tmp_path)]) == 0
    assert in_another_process(server, tmp_path, "print(telemetry.enabled, telemetry.level)") == "False usage"


def test_a_host_that_switches_on_with_every_request_changes_nothing_that_is_locked(
    telemetry, server, tmp_path, monkeypatch
):
    one = telemetry()
    one.feature("a")
    assert one.flush(FLUSH_SECONDS)
    assert main(["off", *options(server, tmp_path)]) == 0
    wait_until(lambda: not one.enabled, 5)
    before = one._background.counters.times_said()
    for _ in range(100):
        one.enabled = True
    assert one._background.counters.times_said() == before


def test_a_level_that_is_set_with_every_request_is_said_once(telemetry, monkeypatch):
    monkeypatch.setenv("LICENSE_TELEMETRY_LEVEL", "system")
    one = telemetry()
    for _ in range(100):
        one.level = "usage"
    assert sum(one._background.counters.times_said()) <= 1


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


def test_on_while_a_wish_to_be_forgotten_waits_says_so_and_loses_nothing(bench, server, tmp_path, capsys):
    here = bench()
    here.ping()
    here.engine.deliver(SOON)
    server.next_forgettings(status(501))
    assert main(["forget", *options(server, tmp_path)]) == 1
    capsys.readouterr()
    assert main(["on", *options(server, tmp_path)]) == 0
    assert "request to erase this installation still waits" in capsys.readouterr().out
    assert here.status["why_off"] is None
    here.feature("since", 3)
    here.ping()
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert len(server.forgotten) == 1
    assert (counted(server, "since"), len(server.enrolments)) == (3, 2)
    assert server.pings[-1]["installation_id"] == server.enrolments[1]["installation_id"]
    assert server.pings[-1]["sequence"] == 1
    assert main(["on", *options(server, tmp_path)]) == 0
    assert capsys.readouterr().out == f"Switched on for {tmp_path / 'state'}.\n"


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


# ── a new notice ────────────────────────────────────────────────────────────────────────────

NOTICE = {
    "version": "2026-12-01",
    "url": "https://vendor.example/privacy/notices/2026-12-01?language=en",
    "sha256": "ab" * 32,
    "language": "en",
    "valid_from": "2026-12-01T00:00:00Z",
}


def test_nothing_above_license_is_sent_before_a_new_notice_was_shown(telemetry, server):
    shown = []
    server.notices = [NOTICE]
    one = telemetry(notice_version="2018-04-17", on_notice=shown.append)
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert wait_until(lambda: shown) == [[NOTICE]]
    server.notices = []
    one.feature("after")
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    last = server.pings[-1]
    assert last["privacy"] == {"notice_version": "2026-12-01", "level": "usage"}
    assert last["usage"]["features"] == {"after": 1}
    assert len(shown) == 1


def test_a_host_that_shows_no_notice_sends_the_license_only_until_it_names_the_new_version(telemetry, server):
    server.notices = [NOTICE]
    one = telemetry(notice_version="2018-04-17")
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    one.feature("counted.before")
    one.license("trial")
    assert one.flush(FLUSH_SECONDS)
    assert server.pings[-1]["privacy"] == {"notice_version": "2018-04-17", "level": "license"}
    assert not {"usage", "os", "host"} & set(server.pings[-1])
    assert one.preview()["privacy"]["level"] == "license"
    one.close()
    updated = telemetry(notice_version="2026-12-01")
    updated.license("licensed")
    assert updated.flush(FLUSH_SECONDS)
    assert server.pings[-1]["privacy"] == {"notice_version": "2026-12-01", "level": "usage"}
    assert "os" in server.pings[-1]


def test_on_notice_is_called_again_until_it_has_shown_the_notice(telemetry, server):
    answers = [RuntimeError("no window"), False, None]

    def show(notices):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    server.notices = [NOTICE]
    one = telemetry(notice_version="2018-04-17", on_notice=show)
    for _ in range(3):
        one.ping()
        assert one.flush(FLUSH_SECONDS)
    wait_until(lambda: not answers)
    one.license("trial")
    assert one.flush(FLUSH_SECONDS)
    assert server.pings[-1]["privacy"]["notice_version"] == "2026-12-01"
