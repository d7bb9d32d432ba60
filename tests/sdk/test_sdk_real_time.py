"""What the client does by itself, in real processes and real time: read from outside, as an operator would."""

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest
from license_telemetry import _counters
from license_telemetry._snapshot import PROCESS
from license_telemetry.testing import FakeServer, status
from patience import wait_until
from real_hosts import CLIENT, END_SECONDS, end, features, harvest_all, place_in_memory

HERE = Path(__file__).parent
WATCHED_MINUTES = 8
NEWEST = max(Path.home().glob(".pyenv/versions/3.1[23].*/bin/python"), default=Path(sys.executable))


@pytest.fixture
def tmp_path():
    yield from place_in_memory()


# ── idle, whatever the server does ──────────────────────────────────────────────────────────

WAITS = """
    import resource
    telemetry.license(status="licensed", key="ABCD-EFGH-7Q2K")
    telemetry.feature("a")
    telemetry.ping()
    print("up", flush=True)
    for line in sys.stdin:
        spent = resource.getrusage(resource.RUSAGE_SELF)
        print((spent.ru_utime + spent.ru_stime) * 1000, spent.ru_nvcsw, flush=True)
"""


class Spent:
    """What a host that runs WAITS has spent so far, threads that have ended among it: the host says so itself.

    `asking` is how often it is woken to say so.
    """

    def __init__(self, process):
        self.cpu, self.wakeups = self._ask(process)
        self.asking = self._ask(process)[1] - self.wakeups
        self.threads = len(os.listdir(f"/proc/{process.pid}/task"))
        self.descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))

    @staticmethod
    def _ask(process):
        process.stdin.write("\n")
        process.stdin.flush()
        cpu, wakeups = process.stdout.readline().split()
        return float(cpu), int(wakeups)

    def until(self, later):
        """(ms, wake-ups) from here to `later`."""
        return round(later.cpu - self.cpu, 1), later.wakeups - self.wakeups - 2 * self.asking


@contextlib.contextmanager
def hole(kind):
    """An address where no answer comes: `silent`, one byte a second in the headers, or no handshake at all."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0 if kind == "black hole" else 50)
        if kind == "black hole":
            for _ in range(4):  # fill the backlog
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
        if kind == "drips":
            threading.Thread(target=drip, args=(listener,), daemon=True).start()
        yield "http://{}:{}".format(*listener.getsockname())


def drip(listener):
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=drip_into, args=(connection,), daemon=True).start()


def drip_into(connection):
    with contextlib.suppress(OSError), connection:
        while True:
            connection.sendall(b"H")
            time.sleep(1)


@pytest.mark.slow(reason="hosts are watched for minutes")
@pytest.mark.timeout(60 * WATCHED_MINUTES + 120)
def test_an_idle_host_spends_nothing_whatever_the_server_does(host, server, tmp_path, tiny_disk):
    """Eight minutes of real time in each state at once, the first of which is for the start.

    An idle minute is one look at the clock. An attempt to reach a server that is away costs a few wake-ups more;
    they become rarer, and each is in another minute.
    """
    tiny_disk.fill()
    hosts = {}
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(FakeServer())
        busy.next_pings(*[status(503)] * 100)
        asks = stack.enter_context(FakeServer())
        asks.next_pings(*[status(503, retry_after="3600")] * 100)
        endpoints = {"up": server.endpoint, "refuses": "http://127.0.0.1:9"}
        endpoints.update({"503": busy.endpoint, "503, in an hour": asks.endpoint})
        for kind in ("silent", "drips", "black hole"):
            endpoints[kind] = stack.enter_context(hole(kind))
        for state, endpoint in endpoints.items():
            hosts[state] = host(WAITS, endpoint=endpoint, state=state)
        hosts["disk full"] = host(WAITS, state=tiny_disk.place / "state")
        hosts["resolver"] = host(
            "import _socket\n_socket.getaddrinfo = lambda *_: time.sleep(1000)\n" + textwrap.dedent(WAITS),
            state="resolver",
        )
        for process in hosts.values():
            assert process.stdout.readline() == "up\n"
        looks = {state: [] for state in hosts}
        for _ in range(WATCHED_MINUTES):
            time.sleep(60)
            for state, process in hosts.items():
                looks[state].append(Spent(process))
    minutes = {
        state: [before.until(after) for before, after in itertools.pairwise(looks[state])] for state in looks
    }
    last = {state: (looks[state][-1].threads, looks[state][-1].descriptors) for state in looks}
    print(minutes, last)
    for state, spent in minutes.items():
        cpu, wakeups = zip(*spent, strict=True)
        most = 2 if state in ("up", "503, in an hour", "disk full") else 12  # in a minute with an attempt
        mean = {"drips": 6}.get(state, min(most, 4))
        assert max(cpu) <= 10, (state, spent)
        assert sum(cpu) / len(cpu) <= 5, (state, spent)
        assert max(wakeups) <= most, (state, spent)
        assert sum(wakeups) / len(wakeups) <= mean, (state, spent)
        assert min(wakeups) <= 2, (state, spent)
    assert max(threads for threads, _ in last.values()) <= 3, last
    assert max(descriptors for _, descriptors in last.values()) <= 8, last
    assert features(server)["a"] >= 1


@pytest.mark.slow(reason="heartbeats come every minute")
def test_heartbeats_go_on_though_the_host_calls_nothing_any_more(host, server):
    """Every minute; the host counted once, and is silent since."""
    server.next_ping_seconds = 60
    process = host("telemetry.feature('a')\ntelemetry.flush(20)\ntime.sleep(1000)")
    wait_until(lambda: "heartbeat" in [made["reason"] for made in server.pings], 100)
    assert process.poll() is None


def test_the_queue_leaves_by_itself_once_the_server_is_back(host, server, tmp_path):
    """The attempts come later and later, at first within half a minute."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    host("telemetry.feature('a')\ntelemetry.ping()\ntime.sleep(1000)", endpoint=f"http://127.0.0.1:{port}")
    time.sleep(3)
    with FakeServer(port=port) as late:
        late.product_key = server.product_key
        wait_until(lambda: features(late).get("a"), 100)


@pytest.mark.slow(reason="heartbeats come every minute")
def test_a_clock_that_jumps_stops_no_heartbeat(host, server, tmp_path):
    """libfaketime reads the offset anew while the host runs; the monotonic clock stays as it is.

    The hosts wait in pause(2): under libfaketime time.sleep() is an error.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed")
    server.next_ping_seconds = 60
    jumps = ["+1h", "-1h", "+3650d", "-3650d"]
    hosts = {}
    for jump in jumps:
        offset = tmp_path / f"offset {jump}"
        offset.write_text("+0")
        env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        code = f"telemetry.feature('jump{jump.strip('+-')}{jumps.index(jump)}')\ntelemetry.ping()\nsignal.pause()"
        hosts[jump] = host(code, env=env, state=jump)

    def pings():
        """How many came from each installation."""
        seen = [made["installation_id"] for made in server.pings]
        return [seen.count(one) for one in set(seen)]

    wait_until(lambda: len(pings()) == len(jumps))
    before = {jump: spent_cpu(process.pid) for jump, process in hosts.items()}
    for jump in jumps:
        (tmp_path / f"offset {jump}").write_text(jump)
    wait_until(lambda: min(pings()) >= 3, 170)  # the one that is due, and one after it
    assert max(spent_cpu(process.pid) - before[jump] for jump, process in hosts.items()) < 1000


def spent_cpu(pid):
    """Milliseconds so far, as the kernel counts it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


@pytest.mark.slow(reason="a host talks for seventy seconds")
def test_a_host_that_says_two_things_in_turn_makes_a_ping_a_minute_of_each_kind(host, server, tmp_path):
    """For seventy seconds, twenty times a second, in two processes; then the newest claim arrives."""
    says = """
        ends = time.monotonic() + 70
        number = 0
        while time.monotonic() < ends:
            telemetry.license(status=("licensed", "trial")[number % 2])
            telemetry.ping()
            number += 1
            time.sleep(0.05)
        telemetry.license(status="expired")
        print("said", flush=True)
        time.sleep(1000)
    """
    hosts = [host(says), host(says)]
    for process in hosts:
        assert process.stdout.readline() == "said\n"
    path = f"file:{tmp_path}/state/outbox.sqlite3?mode=ro"
    with contextlib.closing(sqlite3.connect(path, uri=True)) as outbox:
        reasons = [reason for (reason,) in outbox.execute("SELECT reason FROM ping")]
        counts = dict(outbox.execute("SELECT name, value FROM state WHERE name LIKE 'total_%'"))
    assert reasons.count("license") in {1, 2}, reasons  # none where the claim held is what was reported last
    assert reasons.count("manual") == 2, reasons
    assert counts == {}
    wait_until(lambda: sqlite_claim(path) == "expired", 100)


def sqlite_claim(path):
    """What the newest ping in the outbox says of the license."""
    with contextlib.closing(sqlite3.connect(path, uri=True)) as outbox:
        (content,) = outbox.execute("SELECT content FROM ping ORDER BY sequence DESC LIMIT 1").fetchone()
    return json.loads(content)["license"]["status"]


# ── what outlives the process ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "os._exit"])
def test_what_was_counted_is_there_however_the_process_ends(host, server, how):
    """Its own line says how many feature() calls had returned; all of them arrive, once."""
    ends = "os._exit(0)" if how == "os._exit" else f"os.kill(os.getpid(), signal.{how})"
    for _ in range(3):
        process = host(f"""
            for _ in range(1000):
                telemetry.feature("a")
            {ends}
        """)
        process.communicate(timeout=END_SECONDS)
    harvest_all(host)
    assert features(server) == {"a": 3000, "last": 1}


def test_one_file_serves_many_processes_one_after_another(host, server, tmp_path):
    for _ in range(5):
        end(host('telemetry.feature("a")\nos._exit(0)'))
    (directory, *_) = _counters.shared_directories(str(tmp_path / "state"))
    assert len([name for name in os.listdir(directory) if name.endswith(_counters.SUFFIX)]) == 1
    harvest_all(host)
    assert features(server) == {"a": 5, "last": 1}


def test_when_the_memory_is_gone_the_copy_on_disk_is_harvested(host, server, tmp_path):
    """As after a reboot or in a new container: all but the last seconds."""
    process = host("""
        telemetry.feature("a", 7)
        print("up", flush=True)
        time.sleep(1000)
    """)
    assert process.stdout.readline() == "up\n"
    kept = Path(_counters.kept_directory(str(tmp_path / "state")))
    wait_until(lambda: list(kept.glob("*.counts")))
    time.sleep(0.5)
    process.kill()
    process.communicate()
    shutil.rmtree(_counters.shared_directories(str(tmp_path / "state"))[0])
    harvest_all(host)
    assert features(server) == {"a": 7, "last": 1}


def test_a_file_that_a_cleaner_removed_is_made_anew_with_all_its_counts(host, server, tmp_path):
    process = host("""
        telemetry.feature("a", 5)
        print("up", flush=True)
        time.sleep(2)
        for _ in range(20):
            telemetry.feature("a")
            time.sleep(0.5)
        print("counted", flush=True)
        time.sleep(1000)
    """)
    assert process.stdout.readline() == "up\n"
    directory = Path(_counters.shared_directories(str(tmp_path / "state"))[0])
    shutil.rmtree(directory)
    assert process.stdout.readline() == "counted\n"
    assert len(list(directory.glob("*.counts"))) == 1
    process.kill()
    process.communicate()
    harvest_all(host)
    assert features(server) == {"a": 25, "last": 1}


def test_a_state_directory_that_is_made_anew_counts_nothing_twice(host, server, tmp_path):
    process = host("""
        telemetry.feature("a", 3)
        assert telemetry.flush(30)
        print("sent", flush=True)
        while os.path.exists(os.environ["LICENSE_TELEMETRY_STATE_DIR"]):
            time.sleep(0.02)
        telemetry.feature("a", 4)
        telemetry.license(status="trial")
        assert telemetry.flush(30)
        telemetry.close()
    """)
    assert process.stdout.readline() == "sent\n"
    shutil.rmtree(tmp_path / "state")
    out, err = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, out, err) == (0, "", "")
    assert features(server) == {"a": 7}
    assert len(server.enrolments) == 2


@pytest.fixture
def left_over(host, tmp_path):
    """A directory in shared memory whose state directory is gone, with counts that nobody harvested."""
    end(host("telemetry.feature('a')\nos._exit(0)", state="gone"))
    end(host("telemetry.feature('a')\ntelemetry.flush(20)", state="gone"))
    end(host("telemetry.feature('a')\nos._exit(0)", state="gone"))
    shutil.rmtree(tmp_path / "gone")
    (directory, *_) = _counters.shared_directories(str(tmp_path / "gone"))
    yield Path(directory)
    shutil.rmtree(directory, ignore_errors=True)


def come_by(host, number):
    """Another product of the same user works, and looks around once."""
    end(host("telemetry.feature('b')\nassert telemetry.flush(20)", state=f"other {number}"))


def a_week_later(directory):
    mark = directory / _counters.MISSING
    then = mark.stat().st_mtime - 8 * 86_400
    os.utime(mark, (then, then))


def test_what_a_deleted_state_directory_left_in_memory_goes_after_a_week(host, left_over):
    come_by(host, 1)
    assert (left_over / _counters.MISSING).exists()
    come_by(host, 2)
    assert left_over.exists()
    a_week_later(left_over)
    come_by(host, 3)
    assert not left_over.exists()


@pytest.mark.parametrize(
    "why", ["in use", "back", "used meanwhile", "another container's", "not ours", "hidden"]
)
def test_what_may_be_in_use_stays(host, left_over, tmp_path, why):
    come_by(host, 1)
    a_week_later(left_over)
    (counts, *_) = left_over.glob("*.counts")
    with contextlib.ExitStack() as stack:
        if why == "in use":
            fcntl.flock(stack.enter_context(counts.open("rb")), fcntl.LOCK_EX)
        elif why == "back":
            (tmp_path / "gone").mkdir()
        elif why == "used meanwhile":
            end(host("telemetry.feature('a')\nos._exit(0)", state="gone"))
            shutil.rmtree(tmp_path / "gone", ignore_errors=True)
        elif why == "another container's":
            content = bytearray(counts.read_bytes())
            content[8 * (PROCESS + 2) : 8 * (PROCESS + 3)] = (1).to_bytes(8, sys.byteorder)
            counts.write_bytes(content)
        elif why == "not ours":
            if os.geteuid() != 0:
                pytest.skip("only root can give it away")
            os.chown(left_over, 4243, 4243)
        else:
            (left_over / _counters.STATE_DIR).write_text("x" * 5000)  # a path no system looks at
        come_by(host, 2)
    assert list(left_over.glob("*.counts"))  # not `counts` itself: a user may have harvested and removed it


def test_shared_memory_that_is_full_costs_no_count(host, server, tmp_path):
    """In a mount namespace of its own, whose /dev/shm is full before the first call."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")
    with tempfile.TemporaryDirectory() as state:  # on a disk: /dev/shm is another one there
        program = Path(state) / "program.py"
        program.write_text(
            "import os, sys\n"
            f"sys.path.insert(0, {str(CLIENT)!r})\n"
            "from license_telemetry import Telemetry\n"
            f"telemetry = Telemetry({server.endpoint!r}, {server.product_key!r}, '1', state_dir={state!r})\n"
            "for _ in range(100): telemetry.feature('a')\n"
            "print(telemetry.status()['counters'], flush=True)\n"
            "os.kill(os.getpid(), 9)\n"
        )
        fill = "mount -t tmpfs -o size=16k none /dev/shm && head -c 16384 /dev/zero > /dev/shm/full"
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", f"{fill} && exec {sys.executable} {program}"],
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
            check=False,
        )
        assert done.stdout == "state directory\n", done.stderr
        end(host("telemetry.feature('last')\nassert telemetry.flush(30)", state=state))
        assert features(server) == {"a": 100, "last": 1}


# ── a disk on a bad day ─────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def slow_disk(tmp_path_factory):
    """What to preload for an fsync of five seconds."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("slow") / "slow_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, HERE / "slow_disk.c"], check=True)
    return {"LD_PRELOAD": str(library), "FSYNC_SECONDS": "5"}


def test_every_bound_holds_while_an_fsync_takes_five_seconds(host, slow_disk):
    process = host(
        """
        import atexit, json
        from license_telemetry import _background
        took = {}

        def measure(name, call):
            started = time.monotonic()
            call()
            took[name] = time.monotonic() - started

        def fork():
            child = os.fork()
            if not child:
                telemetry.feature("child")
                os._exit(0)
            os.waitpid(child, 0)

        telemetry.license(status="licensed", key="ABCD-EFGH-7Q2K")
        telemetry.ping()
        time.sleep(1)
        measure("status", telemetry.status)
        measure("preview", telemetry.preview)
        measure("flush", lambda: telemetry.flush(1))
        measure("feature", lambda: telemetry.feature("a"))
        measure("fork", fork)
        measure("close", telemetry.close)
        telemetry = Telemetry("http://127.0.0.1:9", "pk_acme_x", "1")
        telemetry.feature("b")
        measure("exit", _background._at_exit)
        print(json.dumps(took), flush=True)
        """,
        env=slow_disk,
    )
    took = json.loads(end(process))
    assert took["feature"] < 0.5, took
    assert took["status"] < 3, took
    assert took["preview"] < 3, took
    assert took["flush"] < 2, took
    assert took["fork"] < 1, took
    assert took["close"] < 3, took
    assert took["exit"] < 2, took


def test_out_of_descriptors_at_the_first_call_it_goes_on_later(host, server):
    process = host("""
        import resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        opened = []
        try:
            while True:
                opened.append(open("/dev/null"))
        except OSError:
            pass
        telemetry.feature("a")
        telemetry.ping()
        time.sleep(1)
        telemetry.feature("a")
        assert telemetry.status()["enabled"]
        for file in opened:
            file.close()
        deadline = time.monotonic() + 90
        while not telemetry.flush(20) and time.monotonic() < deadline:
            time.sleep(1)
        print(telemetry.status()["queued"], flush=True)
    """)
    assert end(process) == "0\n"
    assert features(server) == {"a": 2}
    assert len({made["installation_id"] for made in server.pings}) == 1


def test_what_root_makes_in_a_directory_of_a_service_belongs_to_the_service(host, server, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can try")
    owner = 12_345
    tmp_path.chmod(0o711)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, owner, owner)
    end(host("telemetry.feature('a')\ntelemetry.close()", state=home / "state"))
    made = [home / "state", *(home / "state").rglob("*")]
    assert {path.name for path in made} >= {"state", "outbox.sqlite3", "outbox.lock"}
    assert {path.stat().st_uid for path in made} == {owner}


def test_directories_are_private_whatever_the_umask(host, tmp_path):
    end(host("telemetry.feature('a')\ntelemetry.close()", state="one/two/three", env={"UMASK": "0"}))
    code = "import os; os.umask(0)\n"
    end(host(code + "telemetry.feature('a')\ntelemetry.close()", state="a/b/c"))
    for path in ("a", "a/b", "a/b/c"):
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o700


# ── forks, copies, interrupts ───────────────────────────────────────────────────────────────


def test_a_host_that_forks_is_warned_of_no_thread(host, server):
    """Python 3.12 and newer warn where a process with threads forks."""
    process = host(
        """
        import warnings
        warnings.simplefilter("error")
        telemetry.feature("a")
        telemetry.flush(20)
        for _ in range(20):
            child = os.fork()
            if not child:
                telemetry.feature("child")
                os._exit(0)
            os.waitpid(child, 0)
            telemetry.feature("a")
        telemetry.flush(20)
        """,
        python=NEWEST,
    )
    end(process)
    harvest_all(host)
    assert features(server) == {"a": 21, "child": 20, "last": 1}


@pytest.mark.parametrize("python", [sys.executable, NEWEST], ids=["this Python", "the newest"])
@pytest.mark.parametrize(
    "closes",
    [
        "opened = []",
        "os.closerange(3, 100); opened = []",
        "os.closerange(3, 100); opened = [os.open('/dev/null', 0) for _ in range(8)]",
    ],
    ids=["keeps all open", "closes all", "closes all and opens others"],
)
def test_a_chain_of_fifty_forks_keeps_no_file_of_its_forebears(host, server, closes, python):
    """As daemons that are replaced by a child of theirs; what each opened stays open."""
    process = host(
        f"""
        for number in range(51):
            telemetry.feature("a")
            {closes}
            if number < 50 and os.fork():
                os._exit(0)
            assert all(os.readlink(f"/proc/self/fd/{{one}}") == "/dev/null" for one in opened)
        maps = [line for line in open("/proc/self/maps") if "license-telemetry-" in line]
        files = [os.path.realpath(f"/proc/self/fd/{{name}}") for name in os.listdir("/proc/self/fd")]
        print(len(maps), len([name for name in files if "license-telemetry-" in name]), flush=True)
        """,
        python=python,
    )
    maps, descriptors = map(int, process.communicate(timeout=END_SECONDS)[0].split())
    assert maps <= 2
    assert descriptors <= 2
    harvest_all(host)
    assert features(server) == {"a": 51, "last": 1}


def test_ctrl_c_at_the_end_prints_nothing_of_ours(host):
    for wait in (0.0, 0.05, 0.2):
        with hole("silent") as endpoint:
            process = host(
                """
                telemetry.feature("a")
                telemetry.ping()
                time.sleep(0.5)
                print("ends", flush=True)
                """,
                endpoint=endpoint,
                state=f"state {wait}",
            )
            assert process.stdout.readline() == "ends\n"
            time.sleep(wait)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=END_SECONDS)
            assert "license_telemetry" not in err


def test_a_client_for_each_request_makes_one_thread(host):
    process = host("""
        for number in range(300):
            Telemetry(telemetry._arguments["endpoint"], "pk_acme_x", "1").feature("a")
        print(len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), flush=True)
    """)
    threads, descriptors = map(int, end(process).split())
    assert threads <= 3
    assert descriptors <= 12


@pytest.mark.parametrize("way", ["pickle.loads(pickle.dumps(holder))", "copy.deepcopy(holder)"])
def test_what_holds_a_client_can_be_pickled_and_copied(host, server, way):
    process = host(f"""
        import copy, pickle
        holder = [telemetry, "more"]
        other, more = {way}
        telemetry.feature("a")
        other.feature("a")
        assert other is not telemetry and other.level == telemetry.level
        assert other.flush(20)
    """)
    end(process)
    assert features(server) == {"a": 2}


# ── programs that run for a moment ──────────────────────────────────────────────────────────


@pytest.fixture
def far_away(server):
    """The server behind a round trip of 60 ms."""
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(0.03)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def carry_both(client):
        time.sleep(0.06)
        address = ("127.0.0.1", int(server.endpoint.rsplit(":", 1)[1]))
        with client, socket.create_connection(address) as upstream:
            there = threading.Thread(target=carry, args=(client, upstream))
            there.start()
            carry(upstream, client)
            there.join()

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=carry_both, args=(listener.accept()[0],), daemon=True).start()

    serving = threading.Thread(target=serve)
    serving.start()
    yield "http://{}:{}".format(*listener.getsockname())
    listener.shutdown(socket.SHUT_RDWR)
    serving.join()
    listener.close()


def test_of_many_short_runs_far_from_the_server_the_first_or_second_is_acknowledged(host, server, far_away):
    for number in range(12):
        end(host('telemetry.license(status="licensed")\ntelemetry.feature("job")', endpoint=far_away))
        if number == 1:
            assert len(server.pings) == 1
    assert len(server.pings) == 1  # the next one is due tomorrow
    harvest_all(host)
    assert features(server) == {"job": 12, "last": 1}


@pytest.mark.slow(reason="four pings are due, a minute apart")
@pytest.mark.timeout(400)
def test_of_forty_short_runs_the_first_or_second_is_acknowledged_and_every_later_due_ping(
    host, server, far_away
):
    """As jobs of cron, for as long as four pings are due after the first."""
    server.next_ping_seconds = 60
    acknowledged = []  # at which run, and when
    runs, every = 40, 7.0
    started = time.monotonic()
    for number in range(runs):
        end(host('telemetry.license(status="licensed")\ntelemetry.feature("job")', endpoint=far_away))
        while len(acknowledged) < len(server.pings):
            acknowledged.append((number, time.monotonic() - started))
        time.sleep(max(0.0, started + every * (number + 1) - time.monotonic()))
    assert acknowledged[0][0] <= 1
    gaps = [after - before for (_, before), (_, after) in itertools.pairwise(acknowledged)]
    assert len(gaps) >= 3
    due = 66 + every  # ten per cent more than the interval, then the next run
    assert statistics.median(gaps) < due + every, gaps  # or the second
    assert max(gaps) < 2 * due, gaps  # where the machine has no time for a run, the next interval is its turn
    harvest_all(host)
    assert features(server) == {"job": runs, "last": 1}
