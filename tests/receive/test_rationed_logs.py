"""Lines of the log that strangers or libraries cause: few, counted, and without what they were about."""

import asyncio
import json
import logging
import warnings

import pytest

from telemetry_server import logs
from telemetry_server.logs import Severity, log_rationed, take_over_libraries, write_held_lines

SECRET = "token=of-somebody"


@pytest.fixture
def said(capsys, monkeypatch):
    """The lines that were written since this was last called."""
    monkeypatch.setattr(logs, "_rationed", {})
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_written_at_once_and_then_counted(said, monkeypatch):
    monkeypatch.setattr(logs, "RATION_SECONDS", 0.0)
    for _ in range(5):
        log_rationed("something", kind="a")
    log_rationed("something", kind="b")
    assert [(line["kind"], line["times"]) for line in said()] == [("a", 1), ("b", 1)]
    write_held_lines()
    assert [(line["kind"], line["times"]) for line in said()] == [("a", 4)]
    write_held_lines()
    write_held_lines()
    log_rationed("something", kind="a")
    assert [(line["kind"], line["times"]) for line in said()] == [("a", 1)]


def test_before_its_time_only_the_end_writes_a_count(said):
    for _ in range(3):
        log_rationed("something", Severity.ERROR)
    write_held_lines()
    assert [line["times"] for line in said()] == [1]
    write_held_lines(all_of_them=True)
    assert [(line["times"], line["severity"]) for line in said()] == [(2, "error")]


def test_kinds_without_number_are_not_written_without_number(said):
    for number in range(3_000):
        log_rationed("something", kind=str(number))
    assert len(said()) == 1_000


@pytest.fixture
def libraries(said):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    loop = asyncio.new_event_loop()
    take_over_libraries(loop)
    yield loop
    loop.close()
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = before


def test_libraries_and_the_event_loop_log_no_contents(said, libraries):
    def fail(_):
        raise ValueError(SECRET)

    libraries.call_soon(fail, SECRET)
    libraries.call_soon(libraries.stop)
    libraries.run_forever()
    try:
        fail(SECRET)
    except ValueError:
        logging.getLogger("some.library").exception("Error for %s", SECRET)
    logging.getLogger("some.library").debug(SECRET)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(SECRET, stacklevel=1)
    lines = said()
    assert SECRET not in json.dumps(lines)
    assert [line["message"] for line in lines] == ["event loop", "library", "library"]
    assert lines[0]["what"].startswith("Exception in callback")
    assert lines[0]["error"] == "ValueError"
    assert lines[0]["where"].startswith("test_rationed_logs.py:")
    assert (lines[1]["logger"], lines[1]["error"]) == ("some.library", "ValueError")


def test_what_the_system_says_of_an_error_is_told(said, libraries):
    libraries.call_exception_handler(
        {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")}
    )
    [line] = said()
    assert line["error"] == "OSError: Too many open files"
