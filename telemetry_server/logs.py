"""Logs: a constant phrase plus fields, one JSON object a line, on standard error.

Never a body, a key, or an address. `log("ping quarantined", sqlstate="22P05")`.
"""

import sys
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson


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
