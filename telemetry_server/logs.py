"""Logs: a constant phrase plus fields, one JSON object a line, on standard error.

Never a body, a key, or an address. `log("ping quarantined", sqlstate="22P05")`. Events that strangers can
cause use `log_rationed`, and so do log messages of libraries and the event loop: these contain requests and
addresses, so only the kind of error and its place in the code are logged.
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
    """The severity of a line."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def log(phrase: str, severity: Severity = Severity.INFO, **fields: Any) -> None:
    """Writes one line. `phrase` is constant, so that lines can be grouped by it."""
    line = {"time": datetime.now(UTC), "severity": severity, "message": phrase, **fields}
    with suppress(OSError, ValueError):  # a full disk or a closed pipe must not stop the server
        sys.stderr.write(orjson.dumps(line, default=str).decode() + "\n")
        sys.stderr.flush()


@dataclass(slots=True)
class _Rationed:
    """A line that was written, the time of the next one, and the number of events since."""

    phrase: str
    severity: Severity
    fields: dict[str, Any]
    again_at: float
    held: int = 0

    def write(self, times: int) -> None:
        log(self.phrase, self.severity, **self.fields, times=times)


_rationed: dict[tuple[object, ...], _Rationed] = {}


def log_rationed(phrase: str, severity: Severity = Severity.WARNING, **fields: str) -> None:
    """Writes the line at most once a minute; `times` is the number of events since the last line.

    Each combination of field values has a separate limit, so fields must have few values.
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
    """Writes the counts that are due, or all of them. Call it every few seconds, and at the end."""
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
    """A handler of Python's logging that omits the arguments of messages."""

    def emit(self, record: logging.LogRecord) -> None:
        severity = Severity.ERROR if record.levelno >= logging.ERROR else Severity.WARNING
        error = record.exc_info[1] if record.exc_info else None
        log_rationed("library", severity, logger=record.name, **describe(error))


def take_over_libraries(loop: asyncio.AbstractEventLoop) -> None:
    """Routes the logs of libraries and of this event loop through `log_rationed`."""
    logging.basicConfig(level=logging.WARNING, handlers=[_AsLines()], force=True)
    logging.captureWarnings(capture=True)
    loop.set_exception_handler(_from_loop)


def _from_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """`message` may contain the arguments of a callback after its first words."""
    what = str(context.get("message", "")).partition(" <")[0].partition("(")[0][:80]
    log_rationed("event loop", Severity.ERROR, what=what, **describe(context.get("exception")))


def describe(error: BaseException | None) -> dict[str, str]:
    """The kind of an error and its line of code; for OSErrors also their text."""
    if error is None:
        return {}
    kind = type(error).__name__
    if isinstance(error, OSError) and error.errno and error.strerror:
        kind += f": {error.strerror}"
    frames = traceback.extract_tb(error.__traceback__)
    where = {"where": f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"} if frames else {}
    return {"error": kind, **where}
