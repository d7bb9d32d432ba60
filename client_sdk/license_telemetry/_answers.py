"""The meaning of the server's answer to an upload: the protocol's table as a closed set."""

from __future__ import annotations

import enum
import json
from datetime import timezone
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import _wire as wire
from ._identity import Identity, from_answer

LARGEST_NOTICES = 4096
MOST_RANGES = 64  # the server keeps no more holes
LONGEST_PAUSE = 86_400.0
_REFUSALS = (400, 413, 415, 422)
_UNKNOWN_TO_THE_SERVER = (401, 403)
BUSY = (429, 500, 502, 503, 504)
CREATED = (200, 201)


class Answer(NamedTuple):
    """An HTTP answer. With `status` 0 there was none: `trouble` says why. Header names are in lower case."""

    status: int
    headers: Dict[str, str]
    body: bytes
    trouble: str = ""

    def json(self) -> Any:
        """The JSON value of the body; None if it is not JSON."""
        try:
            return json.loads(self.body.decode("utf-8"))
        except (ValueError, RecursionError):
            return None

    def retry_after(self, now: float) -> Optional[float]:
        """Retry-After in seconds, at most a day; None if it is absent or invalid."""
        asked = self.headers.get("retry-after", "").strip()
        try:
            seconds = float(int(asked)) if asked.lstrip("-").isdigit() else _until(asked, now)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        return min(seconds, LONGEST_PAUSE) if seconds > 0 else None

    def is_page(self) -> bool:
        """Whether this is a web page: a proxy answered, not the telemetry server."""
        return self.headers.get("content-type", "").lower().startswith("text/html")

    def says_its_status(self) -> bool:
        """Whether the body names the status it came under: a receipt vouches for the body only."""
        content = self.json()
        return isinstance(content, dict) and content.get("status") == self.status


class Outcome(enum.Enum):
    """What to do with the upload."""

    ACKNOWLEDGED = "acknowledged"  # a valid receipt: each ping has its own result
    REFUSED = "refused"  # a valid receipt: split; a single ping is dropped and counted
    TURNED_AWAY = "turned away"  # the same without a receipt: split; a single ping is set aside
    UNKNOWN = "unknown to the server"  # keep, pause a day, try once more, then enrol anew
    GONE = "gone"  # a valid receipt: stop for good
    BUSY = "busy"  # keep; wait as asked
    UNANSWERED = "unanswered"  # send the same bytes again


def judge(answer: Answer, identity: Identity, sent: bytes) -> Outcome:
    """The outcome of an upload whose body was `sent`.

    No ping is removed or dropped, and nothing is stopped, without a valid receipt: a proxy may have answered.
    A web page is no statement about our identity either.
    """
    receipted = identity.is_receipt(answer.headers.get(wire.RECEIPT.lower()), sent, answer.body)
    if answer.status == 200 and receipted:  # noqa: PLR2004  OK
        return Outcome.ACKNOWLEDGED
    vouched = receipted and answer.says_its_status()
    if answer.status == 410 and vouched:  # noqa: PLR2004  Gone
        return Outcome.GONE
    if answer.status in BUSY:
        return Outcome.BUSY
    if answer.status in _REFUSALS:
        return Outcome.REFUSED if vouched else Outcome.TURNED_AWAY
    if answer.status in _UNKNOWN_TO_THE_SERVER and not answer.is_page():
        return Outcome.UNKNOWN
    return Outcome.UNANSWERED


def issued(answer: Answer) -> Optional[Identity]:
    """The identity in the answer to an enrolment; None if it has none, like that of a captive portal."""
    try:
        return from_answer(answer.json()) if answer.status in CREATED else None
    except ValueError:
        return None


def fates(content: Any) -> Dict[str, str]:
    """The outcome of each ping, by ping_id."""
    results = content.get("results") if isinstance(content, dict) else None
    return {
        str(result.get("ping_id")): str(result.get("status"))
        for result in (results if isinstance(results, list) else [])
        if isinstance(result, dict)
    }


def notices(content: Any) -> List[Dict[str, Any]]:
    """The privacy notice in force, in its languages, if the copy has to show it; from any good answer."""
    found = content.get("notices") if isinstance(content, dict) else None
    if found is None and isinstance(content, dict):
        found = [content.get("notice")]  # of an enrolment
    known = [one for one in (found if isinstance(found, list) else []) if isinstance(one, dict)]
    named = [one for one in known if isinstance(one.get("version"), str)]
    return named if len(json.dumps(named)) <= LARGEST_NOTICES else []


def missing(content: Any) -> List[Tuple[int, int]]:
    """The ranges of numbers that the server misses, each [from, to); no more than it keeps."""
    ranges = content.get("missing") if isinstance(content, dict) else None
    return [
        (pair[0], pair[1])
        for pair in islice(ranges if isinstance(ranges, list) else [], MOST_RANGES)
        if isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and 0 < n < 2**62 for n in pair)  # noqa: PLR2004
    ]


def _until(date: str, now: float) -> float:
    moment = parsedate_to_datetime(date)
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() - now
