"""One connection for all that is sent at once, and none afterwards."""

import os
import socket
import threading
from contextlib import contextmanager, suppress

import pytest
from license_telemetry import _process_fork, testing
from license_telemetry._identity import Request
from license_telemetry._settings import Settings
from license_telemetry._transport import Transport
from license_telemetry._uploader import Delivery
from license_telemetry._wakeups import SOON
from patience import patient

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
FIRST, LAST = Request("/v1/pings", {}, b"{}", more=True), Request("/v1/pings", {}, b"{}")


@pytest.fixture
def connections(server, monkeypatch):
    """Those that the fake server accepted."""
    accepted, accept = [], server._http.get_request

    def get_request():
        accepted.append(accept())
        return accepted[-1]

    monkeypatch.setattr(server._http, "get_request", get_request)
    return accepted


def asked_to(server):
    return [request.headers["connection"] for request in server.received]


def test_a_long_queue_goes_over_one_connection_that_is_closed_behind_it(bench, server, connections):
    here = bench()
    here.ping(250)
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert len(server.pings) == 250
    assert asked_to(server) == [*["keep-alive"] * 3, "close"]  # the enrolment, and two uploads of three
    assert len(connections) == 1
    assert not _process_fork.descriptors


def test_what_has_to_wait_holds_no_connection(bench, server, connections):
    here = bench()
    here.ping(250)
    server.next_pings(testing.status(503, retry_after="900"))
    assert here.engine.deliver(SOON) is Delivery.WAITING
    assert asked_to(server) == ["keep-alive", "keep-alive"]
    assert len(connections) == 1
    assert not _process_fork.descriptors


def test_the_background_thread_sends_over_one_connection_and_closes_it(telemetry, server, connections):
    one = telemetry()
    for _ in range(3):
        one.ping()
        assert one.flush(patient(20))
    assert asked_to(server) == ["keep-alive", "close", "close", "close"]
    assert len(connections) == 3
    assert not _process_fork.descriptors


@contextmanager
def answering(*answers):
    """A server that answers each request on any connection with the next of `answers`.

    One with None behind it is the last of its connection. Gives the transport to it, and the number of the
    connection that each request came over.
    """
    came, left = [], list(answers)

    def serve(listener):
        for number in range(len(answers)):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(patient(10))
                while connection.recv(65536):
                    came.append(number)
                    connection.sendall(left.pop(0))
                    if left[:1] == [None]:
                        left.pop(0)
                        break
            if not left:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield Transport(Settings(endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}")), came
        thread.join()


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED])
def test_a_connection_is_used_again_until_a_request_is_the_last(answer):
    with answering(answer, answer, answer, None, answer) as (transport, came):
        for request in (FIRST, FIRST, LAST, LAST):
            assert transport.post(request).body == b"{}"
    assert came == [0, 0, 0, 1]


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER.replace(b"Content", b"Connection: close\r\nContent"),
        ANSWER.replace(b"HTTP/1.1", b"HTTP/1.0"),
        ANSWER + b"H",
        ANSWER + ANSWER,
        CHUNKED + ANSWER,
    ],
)
def test_behind_an_answer_that_leaves_a_doubt_comes_a_new_connection(answer):
    """What stands behind an answer is never read as the next one."""
    with answering(answer, None, ANSWER.replace(b"{}", b"[]")) as (transport, came):
        assert transport.post(FIRST).body == b"{}"
        assert transport.post(LAST).body == b"[]"
    assert came == [0, 1]


def test_a_connection_that_was_closed_meanwhile_is_not_used():
    with answering(ANSWER, None, ANSWER) as (transport, came):
        assert transport.post(FIRST).status == 200
        transport._kept._socket.recv(1, socket.MSG_PEEK)  # until it is closed
        assert transport.post(LAST).status == 200
    assert came == [0, 1]
    assert not _process_fork.descriptors


def test_who_hangs_up_keeps_nothing():
    with answering(ANSWER, ANSWER) as (transport, came):
        transport.post(FIRST)
        transport.hang_up()
        transport.post(LAST)
    assert came == [0, 1]
    assert not _process_fork.descriptors


def test_a_forked_child_has_no_part_in_the_connection():
    with answering(ANSWER, ANSWER) as (transport, came):
        transport.post(FIRST)
        descriptor = transport._kept._socket.fileno()
        child = os.fork()
        if not child:
            with suppress(OSError):
                os.fstat(descriptor)
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert transport.post(LAST).status == 200
    assert came == [0, 0]
