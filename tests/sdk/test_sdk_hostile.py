"""Other users of the machine, a lying server, a careless host: what they must not reach."""

import os
import random
import socket
import threading
import time
from pathlib import Path

import pytest
from license_telemetry import Telemetry, _counters
from license_telemetry._answers import Answer
from license_telemetry._identity import Request
from license_telemetry._settings import Settings
from license_telemetry._transport import LARGEST_ANSWER, Transport
from license_telemetry._wakeups import SOON
from license_telemetry.cli import main
from license_telemetry.testing import FakeServer
from patience import patient

FLUSH_SECONDS = patient(20)


def counted(server, name):
    return sum(made.get("usage", {}).get("features", {}).get(name, 0) for made in server.pings)


@pytest.mark.parametrize("how", ["argument", "LICENSE_TELEMETRY_DISABLED", "LICENSE_TELEMETRY"])
def test_what_is_switched_off_is_switched_on_by_no_other_call(telemetry, server, tmp_path, monkeypatch, how):
    if how != "argument":
        monkeypatch.setenv(how, "1" if how.endswith("DISABLED") else "off")
    one = telemetry(enabled=False if how == "argument" else None)
    one.level = "system"
    one.level = "Usage"
    one.export("/nonexistent/file")
    one.feature("Bad name")
    one.enabled = False
    if how != "argument":
        one.enabled = True
        one.forget()
    one.feature("a")
    one.ping()
    assert not one.flush(1)
    time.sleep(1)
    assert (one.enabled, server.received, (tmp_path / "state").exists()) == (False, [], False)


def test_what_the_customer_switched_off_the_host_cannot_switch_on(telemetry, server, tmp_path):
    assert main(["off", "--state-dir", str(tmp_path / "state"), "--product-key", server.product_key]) == 0
    one = telemetry()
    one.enabled = True
    one.feature("a")
    one.ping()
    one.flush(2)
    assert (one.status()["enabled"], server.received) == (False, [])


def test_switching_on_what_was_on_loses_no_count(telemetry, server):
    for _ in range(3):
        one = telemetry()
        one.feature("a", 5)
        one.enabled = True
        one.feature("a", 5)
        one.close()
    assert telemetry().flush(FLUSH_SECONDS)
    assert counted(server, "a") == 30


def test_a_directory_that_another_user_made_is_neither_read_nor_written(bench, server, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can make one")
    directory = Path(_counters.shared_directories(str(tmp_path / "state"))[0])
    forged = _counters.open_counters(str(tmp_path / "state"))
    forged.add("forged", 1_000_000)
    os.mkfifo(directory / "fifo.counts")
    os.mkfifo(directory / "due")
    os.chown(directory, 4243, 4243)
    here = bench()
    assert here.counters.storage == _counters.STATE_DIRECTORY
    here.feature("a")
    here.ping()
    here.engine.deliver(SOON)
    assert (counted(server, "forged"), counted(server, "a")) == (0, 1)


def test_a_fifo_among_the_files_holds_up_nothing(bench, server, tmp_path):
    here = bench()
    directory = Path(_counters.shared_directories(str(tmp_path / "state"))[0])
    os.mkfifo(directory / "fifo.counts")
    here.feature("a")
    here.ping()
    here.engine.deliver(SOON)
    assert counted(server, "a") == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"",
    ],
)
def test_an_answer_without_end_costs_no_more_than_the_largest(head):
    """Whatever is around the body counts, too."""
    more = (
        b"1\r\nx\r\n"
        if head.endswith(b"chunked\r\n\r\n")
        else b"HTTP/1.1 100 Continue\r\n\r\n"
        if not head
        else b"x" * 1000
    )
    sent = [0]

    def serve(listener):
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(head)
            try:
                while sent[0] < 64 * LARGEST_ANSWER:
                    connection.sendall(more * 50)
                    sent[0] += len(more) * 50
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        answer = Transport(Settings(endpoint=endpoint, product_key="pk_acme_x")).post(
            Request("/v1/pings", {}, b"{}")
        )
        thread.join()
    assert isinstance(answer, Answer)
    assert (answer.status, answer.trouble) == (0, "the answer is too large")
    assert sent[0] < 32 * LARGEST_ANSWER  # what the kernel's buffers hold beyond


def test_a_flush_against_a_server_that_only_says_forked_ends(telemetry, server):
    server.results = lambda _ping: "forked"
    one = telemetry()
    one.ping()
    assert not one.flush(1)
    time.sleep(1)
    asked = len(server.received)
    time.sleep(2)
    assert len(server.received) <= asked + 2


def test_a_host_that_reused_our_descriptors_keeps_them_when_a_file_is_made_anew(tmp_path):
    counters = _counters.open_counters(str(tmp_path / "state"))
    counters.add("a", 1)
    os.unlink(counters.path)
    before = set(os.listdir("/proc/self/fd"))
    counters.put_back()
    assert set(os.listdir("/proc/self/fd")) >= before
    assert counters.snapshot().numbers["+a"] == 1


def test_counters_in_memory_are_not_taken_for_each_other():
    assert _counters.counters_in_memory().id != _counters.counters_in_memory().id


def test_the_hosts_random_numbers_stay_as_they_were_seeded(telemetry):
    random.seed(42)
    expected = [random.random() for _ in range(3)]
    random.seed(42)
    one = telemetry()
    one.license(status="licensed")
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert [random.random() for _ in range(3)] == expected


@pytest.mark.parametrize("path", ["/tmp/\0nul", "/srv/\ud800", 3, object()])
def test_a_state_directory_that_is_no_path_harms_nobody(path):
    with FakeServer() as server:
        one = Telemetry(server.endpoint, server.product_key, "1", state_dir=path)
        one.feature("a")
        one.close()
        assert isinstance(one.status(), dict)
