"""Logs: a constant phrase plus fields, one JSON object a line, on standard error.

Never a body, a key, or an address. `log("ping quarantined", sqlstate="22P05")`. What strangers can cause
goes through `log_rationed`. What libraries and the event loop log becomes such a line, too: their messages
and tracebacks contain requests and addresses, so only the kind of error and its place in the code are kept.
"""

import asyncio
import logging
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

RATION_SECONDS = 60.0
_MOST_RATIONED = 1_000


class Severity(StrEnum):
    """How urgent a line is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def log(phrase: str, severity: Severity = Severity.INFO, **fields: Any) -> None:
    """Writes one line. `phrase` is constant, so that lines can be counted by it."""
    line = {"time": datetime.now(UTC), "severity": severity, "message": phrase, **fields}
    with suppress(OSError, ValueError):  # a full disk or a closed pipe must not stop what was to be told
        sys.stderr.write(orjson.dumps(line, default=str).decode() + "\n")
        sys.stderr.flush()


@dataclass(slots=True)
class _Rationed:
    """A line that was written, when it may be written again, and how often it was not since."""

    phrase: str
    severity: Severity
    fields: dict[str, Any]
    again_at: float
    held: int = 0

    def write(self, times: int) -> None:
        log(self.phrase, self.severity, **self.fields, times=times)


_rationed: dict[tuple[object, ...], _Rationed] = {}


def log_rationed(phrase: str, severity: Severity = Severity.WARNING, **fields: str) -> None:
    """Writes the line at most once a minute; `times` says how often it happened since it was last written.

    Fields are of few values: each combination has a ration of its own.
    """
    key = (phrase, *fields.items())
    rationed = _rationed.get(key)
    if rationed is None:
        if len(_rationed) >= _MOST_RATIONED:
            return
        rationed = _rationed[key] = _Rationed(phrase, severity, fields, time.monotonic() + RATION_SECONDS)
        rationed.write(times=1)
    else:
        rationed.held += 1


def write_held_lines(*, all_of_them: bool = False) -> None:
    """Writes the counts that are due, or all of them. To be called every few seconds, and at the end."""
    now = time.monotonic()
    for key, rationed in list(_rationed.items()):
        if all_of_them or rationed.again_at <= now:
            if rationed.held:
                rationed.write(times=rationed.held)
                rationed.held, rationed.again_at = 0, now + RATION_SECONDS
            else:
                del _rationed[key]


# ── what libraries log ──────────────────────────────────────────────────────────────────────


class _AsLines(logging.Handler):
    """Python's logging, without the arguments of its messages."""

    def emit(self, record: logging.LogRecord) -> None:
        severity = Severity.ERROR if record.levelno >= logging.ERROR else Severity.WARNING
        error = record.exc_info[1] if record.exc_info else None
        log_rationed("library", severity, logger=record.name, **describe(error))


def take_over_libraries(loop: asyncio.AbstractEventLoop) -> None:
    """From now on, this process's libraries and this event loop log by rationed lines."""
    logging.basicConfig(level=logging.WARNING, handlers=[_AsLines()], force=True)
    logging.captureWarnings(capture=True)
    loop.set_exception_handler(_from_loop)


def _from_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """`message` may go on with a callback's arguments after its first words."""
    what = str(context.get("message", "")).partition(" <")[0].partition("(")[0][:80]
    log_rationed("event loop", Severity.ERROR, what=what, **describe(context.get("exception")))


def describe(error: BaseException | None) -> dict[str, str]:
    """The kind of an error, and the line of code it comes from; of the system's errors also their text."""
    if error is None:
        return {}
    kind = type(error).__name__
    if isinstance(error, OSError) and error.errno and error.strerror:
        kind += f": {error.strerror}"
    frames = traceback.extract_tb(error.__traceback__)
    where = {"where": f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"} if frames else {}
    return {"error": kind, **where}
