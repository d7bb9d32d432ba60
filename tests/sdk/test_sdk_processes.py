"""Real processes: forks, kill -9, exits, and every Python there is."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import license_telemetry
import pytest
from license_telemetry._outbox import Outbox
from license_telemetry._uploader import Delivery
from license_telemetry._wakeups import NOW
from patience import patient, wait_until
from real_hosts import place_in_memory

HERE = Path(__file__).parent
CLIENT = Path(license_telemetry.__file__).parent.parent
END_SECONDS = patient(60)
EXIT_SECONDS = patient(5)


@pytest.fixture
def tmp_path():
    yield from place_in_memory()


@pytest.fixture
def host(server, tmp_path):
    """A host process: runs `code` with a `telemetry` at hand."""
    started = []

    def start(code, *, endpoint=server.endpoint, python=sys.executable, **options):
        head = f"""
            import atexit, os, signal, sys, threading, time
            from license_telemetry import Telemetry, _background
            telemetry = Telemetry({endpoint!r}, {server.product_key!r}, "7.2.1", **{options!r})
        """
        environment = {**os.environ, "PYTHONPATH": str(CLIENT), "PYTHONFAULTHANDLER": "1"}
        environment.setdefault("LICENSE_TELEMETRY_STATE_DIR", str(tmp_path / "state"))
        script = textwrap.dedent(head) + textwrap.dedent(code)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(
            subprocess.Popen([python, "-c", script], env=environment, start_new_session=True, **pipes)
        )
        return started[-1]

    yield start
    for process in started:
        with process, contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its forks, too


def end(process, code=0):
    """What the host printed; it must have ended by itself and kept its standard error clean."""
    try:
        out, err = process.communicate(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)  # PYTHONFAULTHANDLER: where every thread hangs
        pytest.fail(process.communicate()[1])
    assert (process.returncode, err) == (code, "")
    return out


def features(server):
    total = {}
    for made in server.pings:
        for name, count in made.get("usage", {}).get("features", {}).items():
            total[name] = total.get(name, 0) + count
    return total


def deliver_all(bench):
    here = bench(clock=time.time)
    here.ping()
    wait_until(lambda: here.engine.deliver(NOW) is Delivery.EMPTY)


# ── many processes, one outbox ──────────────────────────────────────────────────────────────


def test_two_processes_and_their_forks_share_one_outbox(host, server, bench):
    code = """
        for _ in range(40):
            telemetry.feature("a")
            telemetry.ping()
        child = os.fork()
        for _ in range(40):
            telemetry.feature("a", 2)
            telemetry.ping()
        telemetry.close()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    for process in [host(code), host(code)]:
        end(process)
    deliver_all(bench)
    assert sorted(p["sequence"] for p in server.pings) == list(range(1, len(server.pings) + 1))
    assert len({p["ping_id"] for p in server.pings}) == len(server.pings)
    assert features(server) == {"a": 2 * (40 + 80 + 80)}
    assert len(server.enrolments) == 1


def test_the_workers_of_a_preloaded_application_count_for_themselves(host, server, bench):
    """As gunicorn --preload: the master used the client before it forked, workers leave through sys.exit."""
    process = host("""
        telemetry.license(status="licensed", key="ABCD-EFGH-7Q2K")
        telemetry.feature("boot")
        workers = []
        for _ in range(4):
            worker = os.fork()
            if not worker:
                for _ in range(100):
                    telemetry.feature("request")
                sys.exit()
            workers.append(worker)
        for worker in workers:
            os.waitpid(worker, 0)
    """)
    end(process)
    deliver_all(bench)
    assert features(server) == {"boot": 1, "request": 400}


def test_the_children_of_multiprocessing_lose_no_count(host, server, bench):
    process = host("""
        import multiprocessing

        def work():
            for _ in range(100):
                telemetry.feature("task")

        telemetry.feature("boot")
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=work) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
    """)
    end(process)
    deliver_all(bench)
    assert features(server) == {"boot": 1, "task": 300}


def test_forking_in_the_middle_of_everything_locks_nobody(host, server, bench):
    """Forks while the background thread imports, writes and sends; each child must be able to work and to leave."""
    process = host("""
        stop = False

        def busy():
            while not stop:
                telemetry.feature("busy")
                telemetry.ping()
                time.sleep(0.001)

        thread = threading.Thread(target=busy)
        telemetry.feature("parent")
        thread.start()
        for number in range(25):
            child = os.fork()
            if not child:
                telemetry.feature("child")
                telemetry.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop = True
        thread.join()
        telemetry.flush(30)
        telemetry.close()
    """)
    end(process)
    deliver_all(bench)
    assert features(server)["child"] == 25
    assert features(server)["parent"] == 1
    assert len({p["sequence"] for p in server.pings}) == len(server.pings)


def test_a_fork_in_c_doubles_nothing(host, server, bench):
    """As uWSGI does it: what is to run before a fork doesn't."""
    process = host("""
        import ctypes
        telemetry.feature("parent")
        telemetry.flush(20)
        telemetry.feature("parent")
        child = ctypes.PyDLL(None).fork()
        if not child:
            ctypes.pythonapi.PyOS_AfterFork_Child()
        telemetry.feature("child" if child == 0 else "parent")
        telemetry.close()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    """)
    end(process)
    deliver_all(bench)
    assert features(server) == {"parent": 3, "child": 1}


def test_a_child_that_was_forked_inside_a_transaction_works_like_any_other(host, server, bench):
    process = host("""
        from license_telemetry._outbox import Outbox
        telemetry.feature("parent")
        telemetry.flush(20)
        inside, over = threading.Event(), threading.Event()

        def hold():  # as the background thread does on a disk that takes its time
            with Outbox(os.environ["LICENSE_TELEMETRY_STATE_DIR"]).transaction() as ledger:
                ledger.put("held", True)
                inside.set()
                over.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        inside.wait()
        child = os.fork()
        if not child:
            telemetry.feature("child")
            time.sleep(1)
            print(telemetry.flush(20), telemetry.status()["enabled"], flush=True)
            os._exit(0)
        over.set()
        holder.join()
        os.waitpid(child, 0)
    """)
    assert end(process) == "True True\n"
    deliver_all(bench)
    assert features(server) == {"parent": 1, "child": 1}


# ── kill -9 ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("with_server", [False, True])
def test_after_kill_9_at_any_moment_every_queued_ping_has_its_own_number(
    host, server, bench, tmp_path, with_server
):
    endpoint = server.endpoint if with_server else None
    chance = random.Random(20261122)
    for _ in range(8):
        process = host(
            """
            print("up", flush=True)
            while True:
                telemetry.feature("a")
                telemetry.ping()
                time.sleep(0.002)
            """,
            endpoint=endpoint,
        )
        assert process.stdout.readline() == "up\n"
        time.sleep(chance.uniform(0.0, 0.4))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    with Outbox(str(tmp_path / "state")).transaction() as ledger:
        assert ledger.rows("PRAGMA integrity_check") == [("ok",)]
        given = ledger.get("next_sequence", 1) - 1
        queued = ledger.rows("SELECT sequence FROM ping WHERE acknowledged_at IS NULL ORDER BY sequence")
        ledger.put("lease", ["", 0.0])
        if not with_server:
            assert len(queued) + ledger.get("total_evicted", 0) == given
    deliver_all(bench)
    assert len(server.pings) + bench().status["evicted"] == given + 1
    assert (
        len({p["sequence"] for p in server.pings})
        == len({p["ping_id"] for p in server.pings})
        == len(server.pings)
    )
    assert len({p["installation_id"] for p in server.pings}) == 1


def test_a_killed_process_costs_at_most_the_counts_of_the_last_seconds(host, server, bench, tmp_path):
    process = host("""
        telemetry.feature("early", 3)
        telemetry.flush(20)
        telemetry.feature("late")
        print("up", flush=True)
        time.sleep(60)
    """)
    assert process.stdout.readline() == "up\n"
    time.sleep(7)
    process.kill()
    process.communicate()
    deliver_all(bench)
    assert features(server) == {"early": 3, "late": 1}


# ── leaving ─────────────────────────────────────────────────────────────────────────────────


def test_a_process_that_just_ends_has_written_everything(host, server, bench):
    end(host('telemetry.feature("a", 3); telemetry.license(status="trial"); telemetry.feature("b")'))
    deliver_all(bench)
    assert features(server) == {"a": 3, "b": 1}
    assert {p["license"]["status"] for p in server.pings} == {"trial"}


def test_what_a_short_process_leaves_behind_the_next_one_sends(host, server, bench):
    end(host('telemetry.feature("a")\ntelemetry.ping()', endpoint="http://127.0.0.1:9"))
    end(host('telemetry.feature("b")\ntelemetry.flush(20)'))
    assert features(server) == {"a": 1, "b": 1}


@pytest.fixture(params=["drops every packet", "accepts and says nothing", "drips"])
def black_hole(request):
    """An address where nothing ever comes back, in three ways."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0 if request.param == "drops every packet" else 50)
    waiting = []
    if request.param == "drops every packet":
        for _ in range(4):  # fill the backlog: further connections get no answer at all
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
    elif request.param == "drips":
        drip = """
            import socket, sys, time
            listener = socket.socket(fileno=int(sys.argv[1]))
            connection, _ = listener.accept()
            while True:
                connection.sendall(b"H")
                time.sleep(0.2)
        """
        waiting.append(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(drip), str(listener.fileno())],
                pass_fds=[listener.fileno()],
                stderr=subprocess.DEVNULL,
            )
        )
    yield "http://{}:{}".format(*listener.getsockname())
    for one in waiting:
        if isinstance(one, subprocess.Popen):
            one.kill()
            one.wait()
        else:
            one.close()
    listener.close()


@pytest.mark.parametrize(
    "leave", ["", "telemetry.close()", "with telemetry: pass", "assert not telemetry.flush(0.5)"]
)
def test_a_network_that_swallows_everything_holds_nobody_at_exit(host, bench, black_hole, leave):
    started = time.monotonic()
    end(
        host(
            f"""
            telemetry.feature("a")
            telemetry.ping()
            time.sleep(0.3)
            {leave}
            """,
            endpoint=black_hole,
        )
    )
    assert time.monotonic() - started < EXIT_SECONDS
    assert bench().status["queued"] == 1


def test_leaving_without_a_word_waits_for_no_network(host, black_hole):
    """What a black hole costs at exit is measured inside the host: the time its last own line is over."""
    out = end(
        host(
            """
            telemetry.feature("a")
            telemetry.ping()
            time.sleep(0.3)
            atexit.register(lambda: print(time.monotonic() - ended))  # runs last: registered before ours
            atexit.unregister(_background._at_exit)
            atexit.register(_background._at_exit)
            ended = time.monotonic()
            """,
            endpoint=black_hole,
        )
    )
    assert float(out) < patient(1.9)  # a second, once in an interval


def test_the_callers_thread_never_waits_for_the_network(host, black_hole):
    out = end(
        host(
            """
            slowest = 0
            for number in range(2000):
                began = time.perf_counter()
                telemetry.feature("a")
                telemetry.license(status="trial", key="ABCD-EFGH-%d" % (number % 3))
                if number % 100 == 0:
                    telemetry.ping()
                slowest = max(slowest, time.perf_counter() - began)
            print(slowest)
            os._exit(0)
            """,
            endpoint=black_hole,
        )
    )
    assert float(out) < patient(2)


def test_a_host_is_not_kept_alive(host):
    started = time.monotonic()
    end(host('telemetry.feature("a")\nsys.exit(0)'))
    assert time.monotonic() - started < EXIT_SECONDS


def test_a_count_made_while_leaving_harms_nobody(host):
    assert (
        end(
            host(
                'telemetry.feature("a")\natexit.register(telemetry.feature, "b")\natexit.register(print, "left")'
            )
        )
        == "left\n"
    )


def test_a_client_used_only_while_leaving_harms_nobody(host, bench):
    end(host('atexit.register(telemetry.feature, "b")'))
    assert bench().status["trouble"] is None


def test_a_host_that_closes_all_its_descriptors_goes_on(host, server):
    """As daemons do when they detach."""
    end(
        host("""
        telemetry.feature("a")
        assert telemetry.flush(20)
        os.closerange(3, 256)
        telemetry.feature("b")
        assert telemetry.flush(20)
    """)
    )
    assert features(server) == {"a": 1, "b": 1}


# ── importing ───────────────────────────────────────────────────────────────────────────────


def test_importing_loads_nothing_heavy_and_starts_nothing():
    code = """
        import sys, threading
        before = set(sys.modules)
        import license_telemetry
        license_telemetry.Telemetry("http://127.0.0.1:9", "pk_acme_x", "1")
        print(" ".join(sorted(set(sys.modules) - before)), threading.active_count())
    """
    loaded = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(CLIENT)!r})\n" + textwrap.dedent(code),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert loaded.pop() == "1"
    heavy = {"sqlite3", "ssl", "socket", "json", "urllib", "urllib.request", "http", "http.client", "email"}
    heavy |= {"platform", "logging", "typing", "re", "pathlib", "hashlib", "subprocess", "uuid", "random"}
    assert heavy.isdisjoint(loaded)


def pythons():
    """Every Python from 3.8 on that is here: those on the path, and pyenv's."""
    found = {sys.executable}
    found.update(shutil.which(f"python3.{minor}") or sys.executable for minor in range(8, 15))
    found.update(str(path) for path in (Path.home() / ".pyenv" / "versions").glob("3.*/bin/python"))
    versions = {}
    for path in sorted(found):
        asked = [path, "-I", "-c", "import sqlite3, sys; print('%d.%d' % sys.version_info[:2])"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if re.fullmatch(r"3\.\d+", told) and int(told[2:]) >= 8:
            versions.setdefault(told, path)
    return [pytest.param(path, id=version) for version, path in sorted(versions.items())]


@pytest.mark.parametrize("python", pythons())
def test_it_works_on_every_python_there_is(python, tmp_path):
    done = subprocess.run(
        [python, "-W", "error", "-X", "dev", str(HERE / "sdk_smoke.py"), str(tmp_path / "state")],
        env={**os.environ, "PYTHONPATH": str(CLIENT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout.split()[1]) >= 2
