"""The real command, as a process, on data of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from forked_commands import run_command
from patience import patient
from places import quick_directory

from telemetry_server.store.embedded.home import Home

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "telemetry_server"]


class CommandLine:
    """Runs `telemetry-server` in an environment of its own."""

    def __init__(self, data, **settings):
        self.data = data
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("TELEMETRY_")}
        self.environment |= {"TELEMETRY_DATA": str(data), "PYTHONPATH": str(ROOT)}
        self.environment |= {f"TELEMETRY_{name.upper()}": str(value) for name, value in settings.items()}

    def start(self, *arguments, **options):
        return subprocess.Popen([*COMMAND, *map(str, arguments)], env=self.environment, text=True, **options)

    def __call__(self, *arguments, exit_code=0, cwd=None, timeout=90, **environment):
        """What the command wrote to stdout and stderr, once it ended as expected."""
        done = run_command(arguments, self.environment | environment, cwd, patient(timeout))
        assert done.returncode == exit_code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr or "--debug" in arguments
        return done

    def json(self, *arguments, **options):
        """The one JSON document on stdout."""
        return json.loads(self(*arguments, "--json", **options).stdout)

    def error(self, *arguments, exit_code=1, **options):
        """What it said on stderr when it failed, with nothing on stdout."""
        done = self(*arguments, exit_code=exit_code, **options)
        assert done.stdout == ""
        return done.stderr

    @property
    def dsn(self):
        return Home(self.data).dsn("telemetry", "telemetry")


class Served(CommandLine):
    """The same, with `serve` running on the embedded PostgreSQL beside."""

    url = product_key = None

    @contextmanager
    def serving(self):
        with (self.data / "serve.log").open("wb") as log:
            options = ("--listen", "127.0.0.1:0", "--product", "Example")
            process = self.start("serve", *options, stdout=subprocess.PIPE, stderr=log)
            try:
                said = ""
                while "Sign in" not in said:
                    line = process.stdout.readline()
                    assert line, f"{said}\n{(self.data / 'serve.log').read_text()}"
                    said += line
                self.url = re.search(r"Address +(\S+)", said)[1]
                self.product_key = re.search(r"Product key +(\S+)", said)[1]
                self.listen = self.url.removeprefix("http://")
                yield self
            finally:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(patient(30))
                process.kill()
                process.stdout.close()


@contextmanager
def _place():
    """A directory short enough for a socket, which PostgreSQL's user can enter."""
    directory = quick_directory()
    try:
        yield directory
    finally:
        for pid_file in directory.glob("**/postmaster.pid"):  # what a failed test left running
            with suppress(ValueError, ProcessLookupError):
                os.kill(int(pid_file.read_text().split("\n")[0]), signal.SIGQUIT)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def served():
    """The command beside a running server, one for the whole module."""
    with _place() as directory:
        (directory / "data").mkdir(mode=0o711)
        with Served(directory / "data").serving() as command:
            yield command


@pytest.fixture
def command_line():
    """Makes commands with settings of the test's choice."""
    return CommandLine


@pytest.fixture
def place():
    with _place() as directory:
        yield directory


@pytest.fixture
def fresh(place):
    """The command on a data directory that isn't there yet."""
    return CommandLine(place / "data")


@pytest.fixture
def operator(database, tmp_path):
    """The command on an operator's own database of this version."""
    return CommandLine(tmp_path, database_url=database)


@pytest.fixture
async def empty_operator(cluster, tmp_path):
    """The command on an operator's own database with nothing in it."""
    import uuid

    import asyncpg

    name = f"empty_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(cluster.dsn("postgres"))
    await admin.execute(f"CREATE DATABASE {name}")
    yield CommandLine(tmp_path, database_url=cluster.dsn(name))
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()
