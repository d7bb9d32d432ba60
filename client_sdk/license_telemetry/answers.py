"""What the server's answer to an upload means: the protocol's table as a closed set."""

from __future__ import annotations

import enum
import json
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any, Dict, NamedTuple, Optional

from . import wire
from .identity import Identity

LONGEST_PAUSE = 86_400.0
_REFUSALS = (400, 413, 415, 422)
_UNKNOWN_TO_THE_SERVER = (401, 403)
BUSY = (429, 500, 502, 503, 504)
TOO_LARGE = 413
CREATED = (200, 201)


class Answer(NamedTuple):
    """What came back. `status` 0: nothing did, and `trouble` says why. Header names in lower case."""

    status: int
    headers: Dict[str, str]
    body: bytes
    trouble: str = ""

    def json(self) -> Any:
        """The body's value; None when it is no JSON."""
        try:
            return json.loads(self.body.decode("utf-8"))
        except (ValueError, RecursionError):
            return None

    def retry_after(self, now: float) -> Optional[float]:
        """Seconds to wait, as the server asked, at most a day; None when it didn't or asked for nonsense."""
        asked = self.headers.get("retry-after", "").strip()
        try:
            seconds = float(int(asked)) if asked.lstrip("-").isdigit() else _until(asked, now)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        return min(seconds, LONGEST_PAUSE) if seconds > 0 else None

    def is_page(self) -> bool:
        """A web page: some box in between answered, not the telemetry server."""
        return self.headers.get("content-type", "").lower().startswith("text/html")


class Outcome(enum.Enum):
    """What to do with what was sent."""

    ACKNOWLEDGED = "acknowledged"  # a valid receipt: each ping has its own result
    REFUSED = "refused"  # split; a single ping is dropped and counted
    UNKNOWN = "unknown to the server"  # keep, pause a day, enrol once more
    GONE = "gone"  # a valid receipt: stop for good
    BUSY = "busy"  # keep; wait as asked
    UNANSWERED = "unanswered"  # send the same bytes again


def judge(answer: Answer, identity: Identity, sent: bytes) -> Outcome:
    """The outcome of an upload whose body was `sent`.

    200 and 410 count only with a valid receipt. A web page is nobody's word but the box's in between:
    it drops and stops nothing; only "too large" is believed, for splitting loses nothing.
    """
    receipted = identity.is_receipt(answer.headers.get(wire.RECEIPT.lower()), sent, answer.body)
    if answer.status == 200 and receipted:  # noqa: PLR2004  OK
        return Outcome.ACKNOWLEDGED
    if answer.status == 410 and receipted:  # noqa: PLR2004  Gone
        return Outcome.GONE
    if answer.status in BUSY:
        return Outcome.BUSY
    if answer.status in _REFUSALS and (answer.status == TOO_LARGE or not answer.is_page()):
        return Outcome.REFUSED
    if answer.status in _UNKNOWN_TO_THE_SERVER and not answer.is_page():
        return Outcome.UNKNOWN
    return Outcome.UNANSWERED


def _until(date: str, now: float) -> float:
    moment = parsedate_to_datetime(date)
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() - now
