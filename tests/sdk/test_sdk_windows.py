"""What differs on Windows, as far as it can be tried elsewhere: the branches, with `sys.platform` saying so."""

import os
import subprocess
import sys

import pytest
from license_telemetry import _counters, _harvest, _process
from license_telemetry._snapshot import SUFFIX


@pytest.fixture
def windows(monkeypatch):
    """No /proc, no shared memory, and what Windows refuses: to rename or remove a file that is open here."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(_process, "_started", lambda _pid: 0)
    monkeypatch.setattr(_counters, "shared_directories", lambda _state_dir: [])

    def is_open(path):
        files = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        return os.path.realpath(path) in files

    def refusing(call):
        def refuse(path, *more):
            if is_open(path):
                raise PermissionError(13, "the process cannot access the file because it is being used", path)
            return call(path, *more)

        return refuse

    for name in ("rename", "unlink"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


def test_asking_for_a_process_ends_none(windows, monkeypatch):
    """os.kill(pid, 0) is TerminateProcess there."""
    real = os.kill
    monkeypatch.setattr(os, "kill", lambda pid, _signal: real(pid, 9))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert not _process.is_gone((other.pid, 1, _process._namespace(), _process._boot()))
        other.communicate(b"\n")
    assert other.returncode == 0


def test_counters_are_kept_in_the_state_directory_and_the_files_of_the_dead_are_removed(
    windows, bench, server, tmp_path
):
    here = bench()
    assert here.counters.storage == _counters.STATE_DIRECTORY
    dead = _counters.open_counters(str(tmp_path / "state"))
    dead.add("a", 3)
    os.close(dead._memory.descriptor)
    here.feature("a", 4)
    here.ping()
    assert here.engine.collect()
    left = [name for name in os.listdir(tmp_path / "state" / "counters") if name.endswith(SUFFIX)]
    assert left == [here.counters.id + SUFFIX]
    with here.engine._outbox.look() as ledger:
        (content,) = ledger.rows("SELECT content FROM ping")[0]
    assert '"features":{"a":7}' in content


def test_a_living_process_keeps_its_file(windows, bench, tmp_path):
    one, other = bench(), bench()
    one.feature("a")
    other.ping()
    assert other.counters.path != one.counters.path
    assert os.path.exists(one.counters.path)
    assert _harvest._read(one.counters.path).numbers["+a"] == 1
