"""One host on its stand: its processes as Linux sees them, the calls it made, what the server has of them.

A test starts the host, gives it work, ends it, and calls `judge`: every count that feature() returned for is at the
server, exactly once; standard error has nothing of ours.
"""

import contextlib
import http.client
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from environments import APPS, CACHE, CLIENT
from patience import patient, wait_until

READY_SECONDS = 30
ANSWER_SECONDS = 5.0  # a request that takes longer hangs
END_SECONDS = 20
SEND_SECONDS = 30
IDLE_SECONDS = 10.0
IDLE_CPU_SECONDS = 0.5  # of all processes together in IDLE_SECONDS
MOST_DESCRIPTORS = 64
CONNECTIONS = 6
OURS = re.compile(r"license.telemetry", re.IGNORECASE)
FORK_WARNING = "multi-threaded, use of fork"
TICKS = os.sysconf("SC_CLK_TCK")


class Stand:
    """`python` runs the host, `home` is an empty directory, `endpoint` stands in for the server's address.

    `forks_beside_threads`: the host itself does, and Python warns of that without us, too.
    """

    def __init__(self, python, server, home, *, endpoint=None, forks_beside_threads=False):
        self.python = str(python)
        self.server = server
        self.home = home
        self.endpoint = endpoint or server.endpoint
        self.forks_beside_threads = forks_beside_threads
        self.processes = []
        self.random = random.Random()
        self.port = free_port()

    # ── starting and ending ─────────────────────────────────────────────────────────────────

    def environment(self, **more):
        """The variables of a host: those of a plain machine, and where its application finds what it needs."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.home),
            "PYTHONPATH": f"{APPS}{os.pathsep}{CLIENT}",
            "PYTHONPYCACHEPREFIX": str(CACHE / "bytecode"),
            "PYTHONFAULTHANDLER": "1",
            "PYTHONWARNINGS": "default::DeprecationWarning",  # of os.fork() beside a thread
            "HOST_CALLS": str(self.home / "calls"),
            "HOST_STATE": str(self.home / "state"),
            "HOST_ENDPOINT": self.endpoint,
            "HOST_PRODUCT_KEY": self.server.product_key,
            **more,
        }

    def start(self, *arguments, program=None, **variables):
        """Starts `program` (the host's Python) in a session of its own; the Popen."""
        with (self.home / "stderr").open("ab") as errors, (self.home / "stdout").open("ab") as output:
            self.processes.append(
                subprocess.Popen(
                    [program or self.python, *map(str, arguments)],
                    env=self.environment(**variables),
                    cwd=self.home,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    start_new_session=True,
                )
            )
        return self.processes[-1]

    def run(self, *arguments, seconds=120, **more):
        """Starts a program that ends by itself, and waits for it; how long it took."""
        began = time.monotonic()
        process = self.start(*arguments, **more)
        self.ended(process, seconds=seconds)
        assert process.returncode == 0, self.errors
        return time.monotonic() - began

    def ended(self, process, *, seconds=END_SECONDS):
        """Waits for the process and all of its session. Fails with every thread's stack when one hangs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patient(seconds))
        wait_until(lambda: not members(process.pid), seconds, otherwise=lambda: self._where_it_hangs(process))

    def _where_it_hangs(self, process):
        for pid in members(process.pid):
            _kill(pid, signal.SIGABRT)  # PYTHONFAULTHANDLER writes where each thread hangs
        time.sleep(1)
        return f"the host had not ended:\n{self.errors}"

    def end(self, process, number=signal.SIGTERM):
        process.send_signal(number)
        self.ended(process)

    def kill(self, process):
        """kill -9 of the whole session, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pid in members(process.pid):
            _kill(pid, signal.SIGKILL)
        self.ended(process)

    def kill_one(self, process, spare=1):
        """kill -9 of one process of the session, as the kernel does when memory is short; never of the first ones."""
        children = sorted(members(process.pid))[spare:]
        if children:
            _kill(self.random.choice(children), signal.SIGKILL)

    def close(self):
        for process in self.processes:
            for pid in members(process.pid):
                _kill(pid, signal.SIGKILL)
            process.wait(END_SECONDS)

    # ── work ────────────────────────────────────────────────────────────────────────────────

    def serves(self, process, port=None):
        """Waits until the host answers."""
        port = port or self.port
        self.until(lambda: process.poll() is not None or get(port, "/"), "answer", READY_SECONDS)
        assert process.poll() is None, self.errors

    def request(self, count, port=None, seconds=ANSWER_SECONDS):
        """`count` requests over some connections at once, each answered within `seconds`, else the test fails.

        A connection that a recycled worker closed is opened again, as every client does.
        """
        load = Load(port or self.port, count, retries=100)
        load.finish()
        assert not load.unanswered, f"{load.unanswered} requests without an answer:\n{self.errors}"
        assert load.slowest < seconds, f"a request took {load.slowest:.1f} s"

    def load(self, count, port=None):
        """The same in the background, and it may fail: for hosts that are killed meanwhile."""
        return Load(port or self.port, count, retries=0)

    def until(self, condition, words, seconds=60):
        wait_until(condition, seconds, otherwise=lambda: f"no {words}; made {self.made}:\n{self.errors}")

    def until_returned(self, count, seconds=60):
        """Waits until so many calls returned."""
        self.until(lambda: self.calls()[1].total() >= count, f"{count} calls", seconds)

    def idles(self, process, *, threads, cpu_seconds=IDLE_CPU_SECONDS):
        """After its work the host uses no CPU, and each of its processes has `threads` at most, and few descriptors."""
        before = {pid: _cpu_seconds(pid) for pid in members(process.pid)}
        time.sleep(IDLE_SECONDS)
        used = sum(_cpu_seconds(pid) - seconds for pid, seconds in before.items())
        assert used < cpu_seconds, f"idle, the host used {used:.2f} s of CPU in {IDLE_SECONDS} s"
        for pid in members(process.pid):
            assert _count(pid, "task") <= threads, f"{_count(pid, 'task')} threads in {pid}"
            assert _count(pid, "fd") <= MOST_DESCRIPTORS, f"{_count(pid, 'fd')} descriptors in {pid}"

    # ── the sums ────────────────────────────────────────────────────────────────────────────

    def calls(self):
        """Calls of feature() by name: those that began, those that returned."""
        try:
            record = Counter((self.home / "calls").read_bytes())
        except FileNotFoundError:
            return Counter(), Counter()
        began, returned = (
            Counter({f"task.{digit}": record[first + digit] for digit in range(10) if record[first + digit]})
            for first in b"0a"
        )
        return began, returned

    @property
    def made(self):
        """How many calls returned, "597", and how many began where that is not the same: "597 to 599"."""
        began, returned = (calls.total() for calls in self.calls())
        return f"{returned} to {began}" if began > returned else str(returned)

    def summed(self):
        """What the server has of each name."""
        total = Counter()
        for ping in list(self.server.pings):
            total.update(ping.get("usage", {}).get("features", {}))
        return total

    def send(self):
        """What cron does: `license-telemetry send`, which takes along what ended processes left."""
        arguments = ["-m", "license_telemetry", "send", "--state-dir", self.home / "state"]
        arguments += ["--endpoint", self.server.endpoint, "--product-key", self.server.product_key]
        done = subprocess.run(
            [self.python, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=SEND_SECONDS,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr

    @property
    def errors(self):
        return (self.home / "stderr").read_text(errors="replace")[-8000:]

    def judge(self, *, at_least=0):
        """Made and summed are the same; only a call that was cut short by a kill may be in either state."""
        self.send()
        began, returned = self.calls()
        summed = self.summed()
        assert returned.total() >= at_least, f"the host made {returned.total()} calls only:\n{self.errors}"
        wrong = {"lost": returned - summed, "too many": summed - began}
        sums = ", ".join(f"{names.total()} {word}" for word, names in wrong.items())
        assert not any(wrong.values()), f"{sums}, of {self.made}\n{wrong}"
        installations = {ping["installation_id"] for ping in self.server.pings}
        assert len(installations) == 1, f"{len(installations)} installations of one"
        licenses = {ping["license"]["status"] for ping in self.server.pings}
        assert licenses == {"licensed"}, licenses
        assert not OURS.search(self.errors), f"ours on standard error:\n{self.errors}"
        warned = FORK_WARNING in self.errors and not self.forks_beside_threads
        assert not warned, f"a fork beside a thread of ours:\n{self.errors}"


class Load:
    """Requests on their way: `answered`, `unanswered`, and the seconds of the `slowest`."""

    def __init__(self, port, count, retries):
        self.port = port
        self.retries = retries
        self.answered, self.unanswered, self.slowest = 0, 0, 0.0
        self._numbers = iter(range(count))
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(CONNECTIONS)]
        for thread in self._threads:
            thread.start()

    def finish(self):
        for thread in self._threads:
            thread.join()

    def _work(self):
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            began = time.monotonic()
            done = self._ask(number)
            with self._lock:
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.answered += done
                self.unanswered += not done

    def _ask(self, number):
        for _ in range(self.retries + 1):
            if get(self.port, f"/{number}"):
                return True
            time.sleep(0.05)
        return False


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS * 2)
    try:
        connection.request("GET", path)
        return connection.getresponse().read() == b"ok"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def members(session):
    """The processes of a session that have not ended, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def _stat(pid):
    """The fields of /proc/PID/stat from the state on; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu_seconds(pid):
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def _count(pid, what):
    try:
        return len(os.listdir(f"/proc/{pid}/{what}"))
    except FileNotFoundError:
        return 0


def _kill(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
