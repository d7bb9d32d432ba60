"""Real hosts as the tests of real time need them: their fixtures, and what a test asks of them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import license_telemetry
import pytest

CLIENT = Path(license_telemetry.__file__).parent.parent
PATIENCE = 60


@pytest.fixture
def tmp_path():
    """In memory, where there is such a place: how slow a disk is must not decide these tests."""
    place = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    yield Path(place)
    shutil.rmtree(place)


@pytest.fixture
def host(server, tmp_path):
    """A host process: runs `code` with a `telemetry` at hand, as `python`, in its own process group."""
    started = []

    def start(code, *, endpoint=server.endpoint, python=sys.executable, state="state", env=(), **options):
        head = f"""
            import os, signal, sys, threading, time
            from license_telemetry import Telemetry
            telemetry = Telemetry({endpoint!r}, {server.product_key!r}, "7.2.1", **{options!r})
        """
        environment = {**os.environ, "PYTHONPATH": str(CLIENT), **dict(env)}
        environment["LICENSE_TELEMETRY_STATE_DIR"] = str(tmp_path / state)
        script = textwrap.dedent(head) + textwrap.dedent(code)
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        started.append(
            subprocess.Popen([str(python), "-c", script], env=environment, start_new_session=True, text=True, **pipes)
        )
        return started[-1]

    yield start
    for process in started:
        with process, contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def end(process, code=0):
    """What the host printed; it must have ended by itself and kept its standard error clean."""
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (code, "")
    return out


def features(server):
    total = {}
    for made in server.pings:
        for name, count in made.get("usage", {}).get("features", {}).items():
            total[name] = total.get(name, 0) + count
    return total


def wait_for(condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def harvest_all(host):
    """Whoever comes next: takes what others have left behind, and sends it."""
    end(host("telemetry.feature('last')\nassert telemetry.flush(30), telemetry.status()"))
