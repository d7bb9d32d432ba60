"""It says what is wrong when asked, and nothing when not."""

import logging
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import license_telemetry
import pytest
from license_telemetry.cli import main
from license_telemetry.testing import FakeServer, page, recording, status
from patience import patient

CLIENT = Path(license_telemetry.__file__).parent.parent
FLUSH_SECONDS = patient(20)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "Usage"}, "'Usage' is none of license, system, usage"),
        ({"endpoint": "telemetry.example.com"}, "must begin with https:// or http://"),
        ({"product_key": "acme"}, "does not look like pk_<slug>_<random>"),
        ({"interval": "daily"}, "is no number of seconds"),
        ({"interval": True}, "is no number of seconds"),
    ],
)
def test_a_mistake_in_the_settings_is_in_the_status_and_in_the_log_once(telemetry, caplog, options, words):
    one = telemetry(**options)
    one.ping()
    one.flush(0.5)
    one.ping()
    one.flush(0.5)
    assert words in one.status()["trouble"]
    assert [words in record.getMessage() for record in caplog.records].count(True) == 1
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_server_that_is_away_is_in_the_status_until_it_is_back(telemetry, server):
    one = telemetry()
    server.next_enrolments(status(503))
    one.ping()
    assert not one.flush(FLUSH_SECONDS)
    assert "HTTP 503" in one.status()["trouble"]
    assert one.flush(FLUSH_SECONDS)
    assert one.status()["trouble"] is None


def test_what_was_ignored_is_listed_with_its_reason(telemetry):
    one = telemetry()
    one.feature("Invoice Created")
    one.feature("invoice.created", 0)
    one.license(status="valid")
    one.license(status="licensed", source="a friend")
    why = "\n".join(one.status()["ignored_why"])
    assert "'Invoice Created' is no name" in why
    assert "0 is no count" in why
    assert "license() was ignored: that is no status" in why
    assert "'valid'" not in why  # it may be a key in the wrong place
    assert "'a friend' is none of" in why


def test_nothing_is_printed_without_a_handler_and_everything_with_debug(tmp_path):
    code = (
        "from license_telemetry import Telemetry\n"
        f"one = Telemetry('http://127.0.0.1:9', 'pk_acme_x', '1', state_dir={str(tmp_path)!r}{{}})\n"
        "one.feature('Bad')\none.ping()\none.flush(5)\none.close()\n"
    )

    def run(more):
        return subprocess.run(
            [sys.executable, "-c", code.format(more)],
            env={"PYTHONPATH": str(CLIENT), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
            timeout=patient(60),
        )

    quiet, loud = run(""), run(", debug=True")
    assert (quiet.stdout, quiet.stderr, loud.stdout) == ("", "", "")
    assert "'Bad' is no name" in loud.stderr
    assert "not enrolled" in loud.stderr


def test_recording_holds_the_host_to_the_rules_of_production(telemetry):
    one = telemetry()
    with recording() as recorded:
        one.feature("Invoice Created")
        one.feature("a", -1)
        one.feature("a", True)
        one.license(status="valid", key="k")
        one.license(status="licensed", source="a friend")
        with pytest.raises(TypeError):
            one.license(status="licensed", expires="2027-01-01")
        for number in range(300):
            one.feature(f"f{number}")
    assert recorded.features.pop("a") == 1
    assert len(recorded.features) == 255
    assert [said["status"] for said in recorded.licenses] == ["licensed"]
    assert len(recorded.ignored) == 2 + 2 + 45
    assert "'Invoice Created' is no name" in recorded.ignored[0]


def test_mypy_finds_words_that_are_none(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from license_telemetry import Telemetry\n"
        'one = Telemetry("https://t.example.com", "pk_acme_x", "1", level="Usage")\n'
        'one.license(status="valid")\n'
        'one.license(status="licensed", source="friend")\n'
        'one.level = "all"\n'
        'one.license(status="licensed", source="direct")\n'
    )
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)],
        env={"MYPYPATH": str(CLIENT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(120),
    )
    wrong = sorted(int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line)
    assert wrong == [2, 3, 4, 5], done.stdout


# ── the command ─────────────────────────────────────────────────────────────────────────────


def check(capsys, tmp_path, server, *more):
    options = ["--state-dir", str(tmp_path / "state"), "--endpoint", server.endpoint]
    code = main(["check", *options, "--product-key", server.product_key, *more])
    lines = capsys.readouterr().out.splitlines()
    return code, {line[6:].split()[0]: line for line in lines}


def test_check_finds_a_sound_installation_sound(server, tmp_path, capsys):
    code, found = check(capsys, tmp_path, server)
    assert code == 0
    assert list(found) == ["settings", "disk", "lock", "counters", "proxy", "endpoint", "product", "clock"]
    assert all(line.startswith("ok") for line in found.values())
    assert server.pings == []


@pytest.mark.parametrize(
    ("more", "name", "words"),
    [
        (["--endpoint", "http://127.0.0.1:9"], "endpoint", "nothing listens there"),
        (["--endpoint", "http://nowhere.invalid"], "endpoint", "name"),
        (["--endpoint", "telemetry.example.com"], "settings", "must begin with https://"),
        (["--product-key", "pk_acme_wrong"], "product", "the server does not know it"),
        (["--state-dir", "/proc/nothing"], "disk", "state_dir"),
        (["--endpoint", "https://{plain}"], "endpoint", "speaks no TLS: write http://"),
        (["--endpoint", "http://{plain}/path"], "endpoint", "no telemetry server has this path"),
        (["--proxy", "127.0.0.1:9"], "endpoint", "through the proxy 127.0.0.1:9: "),
        (["--endpoint", "https://{plain}", "--ca-file", "/nothing"], "endpoint", "ca_file is not there"),
    ],
)
def test_check_says_what_to_do(server, tmp_path, capsys, more, name, words):
    plain = server.endpoint.partition("://")[2]
    code, found = check(capsys, tmp_path, server, *(word.format(plain=plain) for word in more))
    assert code == 1
    assert found[name].startswith("WRONG")
    assert words in found[name]


def test_check_says_that_it_was_switched_off_here(server, tmp_path, capsys):
    main(["off", "--state-dir", str(tmp_path / "state")])
    code, found = check(capsys, tmp_path, server)
    assert code == 1
    assert "`license-telemetry on`" in found["settings"]


def test_check_sees_that_something_else_answers(server, tmp_path, capsys):
    server.next_enrolments(page())
    code, found = check(capsys, tmp_path, server)
    assert code == 1
    assert "no telemetry server speaks there" in found["endpoint"]


def test_check_compares_the_clock(tmp_path, capsys, monkeypatch):
    with FakeServer() as server:
        ahead = SimpleNamespace(time=lambda: time.time() + 4000, monotonic=time.monotonic)
        monkeypatch.setattr("license_telemetry._check.time", ahead)
        code, found = check(capsys, tmp_path, server)
    assert code == 1
    assert "off the server's" in found["clock"]
