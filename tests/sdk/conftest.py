"""What the SDK's tests share: a clean environment, a fake server, and an engine driven by hand."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from license_telemetry import Telemetry
from license_telemetry._claims import claim_words, key_words
from license_telemetry._counters import open_counters
from license_telemetry._engine import Engine
from license_telemetry._problems import Problems
from license_telemetry._settings import Settings
from license_telemetry._statements import write
from license_telemetry.testing import FakeServer
from real_hosts import CLIENT

START = 1_795_000_000.0


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("LICENSE_TELEMETRY") or name == "DO_NOT_TRACK" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))


@pytest.fixture
def server():
    with FakeServer() as running:
        yield running


@pytest.fixture
def telemetry(server, tmp_path):
    """Makes clients in this process; all are closed in the end."""
    made = []

    def make(**options):
        given = {"endpoint": server.endpoint, "product_key": server.product_key, "version": "7.2.1"}
        made.append(Telemetry(**{"state_dir": tmp_path / "state", **given, **options}))
        return made[-1]

    yield make
    for one in made:
        one.close()


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
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(
            subprocess.Popen(
                [str(python), "-c", script], env=environment, start_new_session=True, text=True, **pipes
            )
        )
        return started[-1]

    yield start
    for process in started:
        with process, contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


class Bench:
    """One process's client without its thread: the test collects and delivers by hand."""

    def __init__(self, server, state_dir, **options):
        self.clock = options.pop("clock", None) or Clock()
        post, gap = options.pop("post", None), options.pop("gap", 0.0)
        given = {
            "product_key": server.product_key,
            "endpoint": server.endpoint,
            "version": "7.2.1",
            **options,
        }
        self.settings = Settings(state_dir=state_dir, **given)
        self.problems = Problems()
        self.engine = Engine(
            self.settings, self.problems, clock=self.clock, ticks=self.clock, gap=gap, post=post
        )
        self.engine.counters = self.counters = open_counters(self.settings.state_dir)

    def say(self, topic, **words):
        self.counters.say(topic, write(self.clock(), words))

    def ping(self, count=1):
        """Each is collected, or several would be one."""
        for _ in range(count):
            self.say("ping")
            collected = self.engine.collect()
        return collected

    def license(self, status="licensed", key=None, **said):
        words = claim_words(
            status, *(said.get(name) for name in ("source", "source_detail", "edition", "expires_at"))
        )
        self.say("license", **words, **key_words(self.settings.product, key))
        return self.engine.collect()

    def feature(self, name, count=1):
        self.counters.add(name, count)

    @property
    def status(self):
        return self.engine.status()


@pytest.fixture
def bench(server, tmp_path):
    """Makes benches; by default all share one state directory."""

    def make(state_dir=None, **options):
        return Bench(server, state_dir or tmp_path / "state", **options)

    return make


class TinyDisk:
    """A real file system of 256 KiB, below `place`."""

    def __init__(self, place):
        self.place = place

    def fill(self):
        with (self.place / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 4096)

    def free(self):
        (self.place / "filler").unlink()


@pytest.fixture
def tiny_disk(tmp_path):
    """Only root may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield TinyDisk(place)
    subprocess.run(["umount", str(place)], check=True)
