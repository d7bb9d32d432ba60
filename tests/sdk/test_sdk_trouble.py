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
        ({"version": 7.2}, "version must be a text, not of type float"),
        ({"proxy": 3128}, "proxy must be a text, not of type int"),
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
    assert "that is no source" in why
    assert "'a friend'" not in why


def test_no_value_of_a_license_is_quoted_because_any_may_be_the_key(telemetry, caplog):
    one = telemetry()
    one.license("licensed", "marketplace", "SECRET-KEY-1234")
    one.license("SECRET-KEY-1234", "licensed")
    one.license("licensed", source=["SECRET-KEY-1234"], expires_at="SECRET-KEY-1234", edition=b"SECRET-KEY")
    one.license("licensed", "SECRET-KEY\ud800", expires_at=Unwritable())
    one.flush(0.5)
    said = "\n".join([*one.status()["ignored_why"], *(record.getMessage() for record in caplog.records)])
    assert "that is no source" in said
    assert "expires_at is neither" in said
    assert "SECRET" not in said


class Unwritable:
    def isoformat(self):
        raise ValueError("SECRET-KEY-1234")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"key": 12345}, "the key is no text, but int"),
        ({"expires_at": "31/12/2027"}, "expires_at is neither a date nor a text"),
        ({"expires_at": 1_800_000_000}, "expires_at is neither a date nor a text"),
        ({"edition": 3}, "the edition is no text, but int"),
        ({"source_detail": b"shop"}, "the source_detail is no text, but bytes"),
    ],
)
def test_a_part_of_a_license_that_is_left_out_is_said(telemetry, server, arguments, words):
    one = telemetry()
    one.license("licensed", **arguments)
    assert one.flush(FLUSH_SECONDS)
    assert server.pings[-1]["license"] == {"status": "licensed"}
    assert words in "".join(one.status()["ignored_why"])
    with recording() as recorded:
        one.license("licensed", **arguments)
    assert words in recorded.ignored[0]


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("https://admin:hunter2@telemetry.invalid/base", "https://telemetry.invalid/base"),
        ("https://admin:hunt/er2@telemetry.invalid", "https://telemetry.invalid"),
        ("admin:hunter2@telemetry.invalid", "telemetry.invalid"),
        ("https://admin:hunter2#@telemetry.invalid", "https://telemetry.invalid"),
    ],
)
def test_a_password_in_the_endpoint_is_shown_nowhere(telemetry, caplog, endpoint, shown):
    one = telemetry(endpoint=endpoint)
    one.ping()
    one.flush(0.5)
    said = str(one.status()) + str(one._background.standing()) + caplog.text
    assert one.status()["endpoint"] == shown
    assert "user and password in the endpoint are not sent" in said
    assert "hunt" not in said


def test_a_password_of_a_proxy_is_shown_nowhere(telemetry, caplog):
    one = telemetry(proxy="http://admin:hunt/er2@proxy.invalid:3128")
    one.ping()
    one.flush(FLUSH_SECONDS)
    said = str(one.status()) + caplog.text
    assert "the proxy is no http or https address" in said
    assert "hunt" not in said


def test_a_portal_that_answers_200_is_a_trouble(telemetry, server):
    one = telemetry()
    server.next_enrolments(page())
    one.ping()
    assert not one.flush(FLUSH_SECONDS)
    assert "not from a telemetry server" in one.status()["trouble"]
    server.next_pings(page())
    assert not one.flush(FLUSH_SECONDS)
    assert "not from a telemetry server" in one.status()["trouble"]
    assert one.flush(FLUSH_SECONDS)
    assert one.status()["trouble"] is None


def test_many_ignored_calls_hide_no_trouble(telemetry, caplog):
    one = telemetry(endpoint="http://127.0.0.1:9")
    for number in range(60):
        one.feature(f"Bad {number}")
    one.ping()
    assert not one.flush(FLUSH_SECONDS)
    assert "not enrolled" in one.status()["trouble"]
    assert "not enrolled" in caplog.text
    assert len(one.status()["ignored_why"]) == 50


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


def test_recording_holds_the_settings_to_the_rules_of_production(telemetry):
    before = telemetry(endpoint="telemetry.example.com", level="Usage")
    with recording() as recorded:
        telemetry(product_key="acme", state_dir="other")
        before.feature("a")
        before.feature("a")
        before.enabled = "no"
        before.level = "all"
        before.level = "system"
    ignored = "\n".join(recorded.ignored)
    assert ignored.count("must begin with https:// or http://") == 1
    assert ignored.count("'Usage' is none of") == 1
    assert "does not look like pk_<slug>_<random>" in ignored
    assert "enabled was ignored: it must be True or False" in ignored
    assert "level was ignored: 'all' is none of" in ignored
    assert (recorded.features, recorded.set, before.level) == ({"a": 2}, [{"level": "system"}], "license")


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


def test_check_names_the_proxy_that_is_used(server, tmp_path, capsys, monkeypatch):
    assert (
        "127.0.0.2:9, for everything" in check(capsys, tmp_path, server, "--proxy", "127.0.0.2:9")[1]["proxy"]
    )
    monkeypatch.setenv("all_proxy", "http://127.0.0.3:9")
    assert "127.0.0.3:9, for everything" in check(capsys, tmp_path, server)[1]["proxy"]
    assert "WRONG" in check(capsys, tmp_path, server, "--proxy", "ftp://127.0.0.2")[1]["proxy"]


def test_check_compares_the_clock(tmp_path, capsys, monkeypatch):
    with FakeServer() as server:
        ahead = SimpleNamespace(time=lambda: time.time() + 4000, monotonic=time.monotonic)
        monkeypatch.setattr("license_telemetry._check.time", ahead)
        code, found = check(capsys, tmp_path, server)
    assert code == 1
    assert "off the server's" in found["clock"]
