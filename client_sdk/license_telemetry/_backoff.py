"""The part of the outbox's state that says when to try again, and what the server is believed to know."""

from __future__ import annotations

from ._chance import chance
from ._ledger import Ledger

BACK_OFF_SECONDS = 30.0
LONGEST_BACK_OFF = 6 * 3600.0
ASIDE_SECONDS = 3600.0


def expect_the_worst(ledger: Ledger, now: float) -> None:
    """Stores the back-off, with full jitter, before an attempt: a killed process must not retry at once."""
    failures = ledger.get("failures", 0)
    longest = min(BACK_OFF_SECONDS * 2 ** min(failures, 20), LONGEST_BACK_OFF)
    ledger.put("failures", failures + 1)
    ledger.put("retry_at", now + 1 + chance.uniform(0, longest))  #  a schedule, no secret


def calm(ledger: Ledger) -> None:
    ledger.put("failures", 0)
    ledger.put("retry_at", 0.0)


def trust(ledger: Ledger) -> None:
    """Notes a signed answer: the server knows us."""
    ledger.put("enrolled_again", False)
    ledger.put("doubted", False)


def hold_aside(ledger: Ledger, now: float, tries: int) -> None:
    """When an upload set aside may be tried again, after `tries` failures."""
    longest = min(ASIDE_SECONDS * 2 ** min(tries, 20), LONGEST_BACK_OFF)
    ledger.put("aside_tries", tries)
    ledger.put(
        "aside_until", now + longest * chance.uniform(0.5, 1) if tries else 0.0
    )  #  a schedule, no secret


def within(until: float, now: float, longest: float) -> float:
    """`until`, or 0 if it is impossibly far off: then the clock was set back."""
    return until if until <= now + longest else 0.0
