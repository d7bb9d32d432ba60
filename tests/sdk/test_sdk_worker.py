"""The thread of ours: it never spins, is never lost, is not missed at the end of a process, and ends for a fork."""

import fcntl
import os
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest
from license_telemetry import _leftovers, _outbox
from license_telemetry._counters import Counters, counters_in_memory, kept_directory
from license_telemetry._locks import try_lock
from license_telemetry._outbox import LOCK
from license_telemetry._worker import Worker
from patience import patient, wait_until
from real_hosts import end, harvest_all, place_in_memory
from real_hosts import features as sums

FLUSH_SECONDS = patient(20)
PYTHONS = {
    path.parent.parent.name.rpartition(".")[0]: path
    for path in Path.home().glob(".pyenv/versions/3.*/bin/python")
}


@pytest.fixture
def tmp_path():
    yield from place_in_memory()


# ── the end of a process ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["this", "3.8", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize("ends", ["telemetry.close()", "pass"])
def test_where_no_thread_can_be_started_any_more_nobody_waits_for_one(host, server, version, ends):
    """Since Python 3.12 none can in handlers of atexit; the count is harvested by whoever comes next."""
    python = sys.executable if version == "this" else PYTHONS.get(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    process = host(
        f"""
        import atexit
        ours = [module for name, module in sys.modules.items() if name.startswith("license_telemetry._")]
        waiting = [module for module in ours if hasattr(module, "wait_until")]
        real = waiting[0].wait_until

        def wait_until(condition, deadline):
            real(condition, deadline)
            print("in time" if time.monotonic() < deadline else "waited in vain")

        def late():
            telemetry.feature("late")
            again.feature("late")

        telemetry.feature("a")
        telemetry.flush(20)
        for module in waiting:
            module.wait_until = wait_until
        again = Telemetry({server.endpoint!r}, {server.product_key!r}, "7.2.1")
        again.close() if {ends!r} != "pass" else None
        {ends}
        print("ends")
        atexit.register(late)
        """,
        python=python,
    )
    said = end(process).splitlines()
    assert "waited in vain" not in said[said.index("ends") :]
    harvest_all(host)
    assert sums(server) == {"a": 1, "last": 1, **({"late": 2} if ends == "pass" else {})}


# ── forks ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="only Linux lists its threads")
def test_a_thread_has_paused_when_the_kernel_does_not_know_it_any_more(telemetry):
    """fork() counts what the kernel knows; a thread lives on a moment after its last line."""
    one = telemetry()
    one.status()
    worker = one._background
    wait_until(worker.is_paused)
    goes = threading.Event()
    thread = threading.Thread(target=goes.wait)
    thread.start()
    worker._native_id = thread.native_id
    assert not worker.is_paused()
    goes.set()
    wait_until(worker.is_paused)
    thread.join()


def test_a_thread_that_is_resumed_before_it_has_paused_starts_again():
    class Slow(Worker):
        loops = 0
        sees, goes = threading.Event(), threading.Event()

        def _loop(self):
            self.loops += 1
            while not self._is_pausing:
                if self.loops > 1:
                    self._is_wanted = False
                    return
                self._wakeup.wait(0.01)
            self.sees.set()
            self.goes.wait(FLUSH_SECONDS)

    slow = Slow()
    slow.wake()
    wait_until(lambda: slow.loops)
    slow.pause()
    slow.sees.wait(FLUSH_SECONDS)
    slow.resume()
    slow.goes.set()
    wait_until(lambda: slow.loops == 2)
    wait_until(slow.is_paused)


# ── no spin ─────────────────────────────────────────────────────────────────────────────────


def test_an_outbox_that_is_spoiled_as_soon_as_it_is_made_is_not_made_again_at_once(telemetry, monkeypatch):
    made = []

    def spoiled(_outbox, _connection):
        made.append(1)
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(_outbox.Outbox, "_prepare", spoiled)
    one = telemetry()
    one.license("licensed")
    assert not one.flush(1)
    before = len(made)
    time.sleep(3)
    assert len(made) - before <= 4


def test_a_flush_that_waits_for_another_process_makes_one_ping_for_the_counts(telemetry, bench):
    other = bench()
    with other.engine._outbox.transaction() as ledger:
        assert ledger.lease("another", time.time())
    one, stop = telemetry(), threading.Event()

    def count():
        while not stop.wait(0.005):
            one.feature("a")

    counting = threading.Thread(target=count)
    one.ping()
    counting.start()
    assert not one.flush(3)
    stop.set()
    counting.join()
    assert one.status()["queued"] <= 3  # that of the start and the one that was asked for among them


# ── what was said is not lost ───────────────────────────────────────────────────────────────


def test_a_license_said_while_the_outbox_is_locked_is_noted_later(telemetry, server, tmp_path):
    """The key does not carry the product: what stands for the license key needs what is in the outbox."""
    first = telemetry()
    first.ping()
    assert first.flush(FLUSH_SECONDS)
    first.close()
    one = telemetry(product_key=None)
    with (tmp_path / "state" / LOCK).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        one.license("licensed", key="ABCD-EFGH-1234")
        wait_until(lambda: "the license is not noted yet" in (one._background.problems.trouble() or ""))
    wait_until(lambda: one._background.counters.times_said()[0])
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert {"key_hint", "key_digest", "status"} <= set(server.pings[-1]["license"])
    assert one.status()["trouble"] is None


def test_two_clients_that_say_different_licenses_in_turn_are_both_heard(telemetry, server):
    one, two = telemetry(), telemetry()
    one.license("licensed")
    two.license("expired")
    one.license("licensed")
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert server.pings[-1]["license"]["status"] == "licensed"


# ── signal handlers and threads that count at the same moment ───────────────────────────────


def test_a_count_inside_a_first_count_is_news_for_the_thread(monkeypatch):
    counters = counters_in_memory()
    real = Counters._new_slot

    def interrupted(self, name):
        if name == "a":
            self.add("b", 1)  # as a signal handler would
        return real(self, name)

    monkeypatch.setattr(Counters, "_new_slot", interrupted)
    assert counters.add("a", 1) is True
    assert counters.add("a", 1) is False
    assert {name: count for name, count in counters.snapshot().numbers.items() if count} == {"+a": 2, "+b": 1}


def test_a_deferred_count_that_another_thread_took_harms_nobody():
    class Taken(list):
        def __bool__(self):
            return True  # it was there when looked at

    counters = counters_in_memory()
    counters._deferred = Taken()
    counters.add("a", 1)
    assert counters.snapshot().numbers["+a"] == 1


# ── what killed processes leave ─────────────────────────────────────────────────────────────


def test_files_that_never_got_their_name_are_removed(bench, tmp_path):
    here = bench()
    kept = Path(kept_directory(str(tmp_path / "state")))
    kept.mkdir(parents=True, mode=0o700)
    places = [Path(here.counters.path).parent, kept]
    left = [place / f"{name}.counts.new" for place in places for name in ("old", "held", "young")]
    long_ago = time.time() - _leftovers.UNNAMED_SECONDS - 60
    for path in left:
        path.touch(0o600)
        if path.name != "young.counts.new":
            os.utime(path, (long_ago, long_ago))
    held = [path.open("r+") for path in left if path.name == "held.counts.new"]
    assert all(try_lock(file.fileno()) for file in held)
    assert here.engine.collect()
    assert [path.exists() for path in left] == [False, True, True] * 2
    for file in held:
        file.close()
