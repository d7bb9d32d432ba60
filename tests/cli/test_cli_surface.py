"""What the command line looks like: help, documentation, exit codes, words instead of tracebacks."""

import signal
import socket
import subprocess
import sys
from importlib import import_module

import asyncpg
import click
import pytest
from patience import patient

from telemetry_server.cli import COMMANDS, main
from telemetry_server.cli.failures import failure, reported
from telemetry_server.errors import MigrationError, SettingsError


def every_command(command=main, path=()):
    """Each command that does something, by its path."""
    if not isinstance(command, click.Group):
        return {" ".join(path): command}
    context = click.Context(command)
    found = {}
    for name in command.list_commands(context):
        found |= every_command(command.get_command(context, name), (*path, name))
    return found


EVERY = every_command()


def test_every_command_takes_data():
    assert [
        path for path, command in EVERY.items() if "data" not in {each.name for each in command.params}
    ] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_help_is_that_of_the_command(name):
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(import_module(f"telemetry_server.cli.{module}"), attribute)
    assert command.name == name
    assert command.help.split("\n")[0] == COMMANDS[name][1]


def test_help_needs_neither_the_database_driver_nor_the_web_server():
    script = (
        "import sys\n"
        "from telemetry_server.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(sorted({'asyncio', 'asyncpg', 'aiohttp', 'rich', 'jinja2', 'orjson'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("path", ["", *EVERY])
def test_every_command_has_help(path):
    arguments = [*path.split(), "--help"]
    with pytest.raises(SystemExit) as left:
        main(arguments, prog_name="telemetry-server")
    assert left.value.code == 0


def test_wrong_usage_leaves_with_2(fresh):
    assert "No such command 'serv'" in fresh.error("serv", exit_code=2)
    assert "No such option" in fresh.error("product", "list", "--nope", exit_code=2)
    assert "is out of bounds" in fresh.error("product", "add", "x", "--interval", "1", exit_code=2)


def test_all_wrong_settings_are_told_together_and_leave_with_2(fresh):
    said = fresh.error("product", "list", exit_code=2, TELEMETRY_WORKERS="none", TELEMETRY_LISSEN="x")
    assert "TELEMETRY_WORKERS='none'" in said
    assert "did you mean TELEMETRY_LISTEN?" in said


def test_a_setting_that_is_like_no_other_gets_no_guess(fresh):
    said = fresh.error("product", "list", exit_code=2, TELEMETRY_FOO="1")
    assert 'TELEMETRY_FOO: there is no such setting; "telemetry-server config show" lists them' in said


def test_an_address_of_another_machine_gets_its_own_advice(fresh):
    said = fresh.error("serve", "--listen", "192.0.2.9:8080")
    assert "Give --listen an address of this machine" in said


def test_a_file_in_place_of_the_data_directory_is_named(fresh, tmp_path):
    (tmp_path / "file").touch()
    assert "is not a directory" in fresh.error(
        "product", "list", "--data", str(tmp_path / "file"), exit_code=4
    )


def test_version_is_printed(fresh):
    assert fresh("--version").stdout.startswith("telemetry-server ")


def test_ctrl_c_leaves_with_130_and_no_traceback(fresh, tmp_path):
    upload = tmp_path / "upload"
    upload.write_text('{"method": "POST", "path": "/v1/pings", "headers": {}, "body": ""}\n')
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = fresh.start(
            *("import", upload, "--endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}"),
            stderr=subprocess.PIPE,
        )
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=patient(20))
    assert process.returncode == 130
    assert "Traceback" not in said


def test_an_unreachable_database_is_told_with_what_to_do(fresh):
    nowhere = "postgresql://nobody:secret@127.0.0.1:1/nothing"
    said = fresh.error("product", "list", exit_code=4, TELEMETRY_DATABASE_URL=nowhere)
    assert "Check TELEMETRY_DATABASE_URL" in said
    assert "secret" not in said


def test_debug_shows_where_an_error_came_from(fresh):
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    said = fresh("--debug", "product", "list", exit_code=4, TELEMETRY_DATABASE_URL=nowhere).stderr
    assert "Traceback" in said
    assert "Error: PostgreSQL cannot be reached" in said


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        (SettingsError("no"), 2, "no"),
        (MigrationError("run migrate"), 3, "run migrate"),
        (ExceptionGroup("tasks", [MigrationError("inside")]), 3, "inside"),
        (PermissionError(13, "Permission denied", "/root/x"), 1, "/root/x: Permission denied"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (ConnectionResetError("gone"), 4, "PostgreSQL disconnected (gone)"),
        (TimeoutError(), 4, "TimeoutError"),
        (asyncpg.InterfaceError("connection is closed"), 4, "disconnected"),
        (asyncpg.InsufficientPrivilegeError("permission denied for table x"), 1, "SQLSTATE 42501"),
        (KeyError("oops"), 70, "--debug"),
    ],
)
def test_errors_are_told_in_a_sentence(error, exit_code, words):
    found = failure(error)
    assert found.exit_code == exit_code
    assert words in found.message


def test_an_interruption_is_no_error(capsys):
    with pytest.raises(click.exceptions.Exit) as left, reported(debug=True):
        raise KeyboardInterrupt
    assert left.value.exit_code == 130
    assert capsys.readouterr().err == ""
