"""The command, as the customer and the operator use it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from license_telemetry import cli, testing

CLIENT = Path(cli.__file__).parent.parent


@pytest.fixture
def command(server, tmp_path, capsys):
    def run(name, *arguments, endpoint=None):
        given = ["--product-key", server.product_key, "--state-dir", str(tmp_path / "state")]
        code = cli.main([name, *given, "--endpoint", endpoint or server.endpoint, *arguments])
        return code, *capsys.readouterr()

    return run


def test_send_sends_one_ping_and_says_so(command, server):
    code, out, err = command(
        *(
            "send",
            "--version",
            "7.2.1",
            "--status",
            "licensed",
            "--key",
            "ABCD-EFGH-7Q2K",
            "--source",
            "gift",
        ),
        *("--feature", "invoice.created=3", "--feature", "report.run", "--feature", "report.run"),
    )
    assert (code, err) == (0, "")
    assert out.startswith(f"Sent: {server.endpoint} acknowledged ping 1 of ")
    (ping,) = server.pings
    assert (ping["reason"], ping["license"]["key_hint"]) == ("license", "7Q2K")
    assert ping["usage"]["features"] == {"invoice.created": 3, "report.run": 2}
    assert ping["service"]["version"] == "7.2.1"
    assert command("send", "--feature", "a")[0] == 0
    assert (server.pings[1]["reason"], server.pings[1]["usage"]["features"]) == ("manual", {"a": 1})


def test_send_prints_the_number_of_its_own_ping(command, server):
    """One that was turned away is tried last, under its older number."""
    server.next_pings(testing.status(413))
    assert command("send")[0] == 1
    code, out, _ = command("send")
    assert (code, [p["sequence"] for p in server.pings]) == (0, [2, 1])
    assert "acknowledged ping 2 of " in out


def test_a_reader_that_has_seen_enough_is_no_error(server, tmp_path):
    given = ["--product-key", server.product_key, "--state-dir", str(tmp_path / "state")]
    with subprocess.Popen(
        [sys.executable, "-m", "license_telemetry", "status", *given],
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == ("", 0)


def test_status_shows_what_is_wrong_with_the_settings(command):
    assert "must begin with https:// or http://" in command("status", endpoint="telemetry.example.com")[1]


def test_send_says_why_it_did_not(command, server):
    server.next_pings(testing.status(503))
    code, out, err = command("send")
    assert (code, out) == (1, "")
    assert "busy (HTTP 503); 1 queued for later" in err
    assert command("send")[0] == 0
    assert [p["sequence"] for p in server.pings] == [1, 2]


def test_send_says_what_went_and_what_somebody_turned_away(command, server):
    server.next_pings(testing.status(413))
    assert "Not sent: " in command("send")[2]
    server.next_pings(lambda server, request: server.answer(request), testing.status(413))
    told = f"Not all sent: {server.endpoint}: turned away (HTTP 413); 1 queued for later.\n"
    assert command("send") == (1, "", told)
    assert [p["sequence"] for p in server.pings] == [2]


def test_send_says_when_the_ping_was_refused(command, server):
    server.next_pings(testing.refused(422))
    assert command("send") == (1, "", f"Not sent: {server.endpoint} refused it (HTTP 422).\n")
    server.results = lambda _made: "rejected"
    assert command("send")[0] == 1


def test_send_without_a_server_keeps_the_ping(command):
    code, _, err = command("send", endpoint="http://127.0.0.1:9")
    assert code == 1
    assert "1 queued for later" in err


def test_preview_prints_the_next_ping_and_changes_nothing(command, server, tmp_path):
    code, out, _ = command(
        "preview", "--version", "7.2.1", "--status", "trial", "--feature", "a=2", "--level", "usage"
    )
    shown = json.loads(out)
    assert code == 0
    assert (shown["license"], shown["usage"]["features"]) == ({"status": "trial"}, {"a": 2})
    assert (server.received, (tmp_path / "state").exists()) == ([], False)


def test_preview_at_a_lower_level_shows_less(command):
    shown = json.loads(command("preview", "--level", "license", "--feature", "a")[1])
    assert {"os", "host", "usage"}.isdisjoint(shown)


def test_status_tells_how_things_stand(command, server):
    command("send")
    told = json.loads(command("status", "--json")[1])
    assert told["installation_id"] == server.enrolments[0]["installation_id"]
    assert (told["queued"], told["last_acknowledged"]["sequence"], told["level"]) == (0, 1, "usage")
    assert told["next_ping_at"] > told["last_acknowledged"]["at"]
    code, out, _ = command("status")
    assert code == 0
    assert f"installation id    {told['installation_id']}" in out


def test_off_is_kept_until_on(command, server):
    assert command("off")[0] == 0
    code, _, err = command("send")
    assert (code, err) == (1, "Not sent: it was switched off here.\n")
    assert json.loads(command("status", "--json")[1])["enabled"] is False
    assert server.received == []
    assert command("on")[0] == 0
    assert command("send")[0] == 0


def test_the_environment_switches_the_command_off_too(command, server, monkeypatch):
    monkeypatch.setenv("LICENSE_TELEMETRY_DISABLED", "1")
    code, _, err = command("send")
    assert (code, err) == (1, "Not sent: LICENSE_TELEMETRY_DISABLED is set.\n")
    assert "LICENSE_TELEMETRY_DISABLED" in command("preview")[2]
    assert server.received == []


def test_export_and_an_enrolment_file_carry_pings_over_an_air_gap(command, server, tmp_path):
    server.next_pings(testing.dropped())
    assert command("send")[0] == 1
    file = tmp_path / "uploads"
    assert command("export", str(file))[0] == 0
    (line,) = file.read_text().splitlines()
    assert json.loads(line)["headers"]["Telemetry-Signature"].startswith(
        "v1 product=acme key=m1 installation="
    )
    enrolment = server._enrol(
        testing.Received("/v1/enroll", {"authorization": f"Bearer {server.product_key}"}, b"{}")
    )
    (tmp_path / "enrolment").write_bytes(enrolment.body)
    code, out, _ = command("import-enrolment", str(tmp_path / "enrolment"))
    assert code == 0
    assert server.enrolments[-1]["installation_id"] in out
    assert command("send")[0] == 0
    assert {p["installation_id"] for p in server.pings} == {server.enrolments[-1]["installation_id"]}


@pytest.mark.parametrize("content", ["", "[]", "{}", "nonsense", '{"installation_id": 3}'])
def test_a_file_that_is_no_enrolment_is_refused(command, tmp_path, content):
    (tmp_path / "enrolment").write_text(content)
    code, out, err = command("import-enrolment", str(tmp_path / "enrolment"))
    assert (code, out) == (1, "")
    assert err == f"{tmp_path / 'enrolment'} is no enrolment file; `telemetry-server enroll` writes them.\n"


def test_what_can_not_be_done_is_told_with_what_to_do(command, tmp_path):
    missing = str(tmp_path / "missing" / "file")
    assert command("import-enrolment", missing) == (1, "", f"{missing}: No such file or directory\n")
    assert "import an enrolment file" in command("export", missing)[2]
    command("send")
    assert command("export", missing) == (1, "", f"{missing}: No such file or directory\n")


def test_facts_prints_what_is_found(command):
    found = json.loads(command("facts")[1])
    assert found["os"]["type"] == "linux"
    assert set(found) <= {"boot_id", "os", "host", "virtualization", "runtime"}


@pytest.mark.parametrize("feature", ["BAD", "a=b", "a=0", "a=-1", "a=99999999999999999999", "=1"])
def test_a_wrong_argument_is_told(command, feature, capsys):
    with pytest.raises(SystemExit) as leaving:
        command("send", "--feature", feature)
    assert leaving.value.code == 2
    assert "is no NAME or NAME=COUNT" in capsys.readouterr().err


def test_without_options_the_only_product_here_is_meant(server, capsys):
    assert cli.main(["send", "--endpoint", server.endpoint, "--product-key", server.product_key]) == 0
    capsys.readouterr()
    assert cli.main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["product"] == "acme"


def test_the_command_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "license_telemetry", "preview", "--product", "acme"],
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["license"] == {"status": "unlicensed"}
    assert done.stderr == ""
