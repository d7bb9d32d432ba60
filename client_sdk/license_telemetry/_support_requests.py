"""The requests to grant and revoke support access that wait in the outbox, and what became of the others."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ._answers import Answer
from ._identity import Identity, Request, signed
from ._ledger import Ledger
from ._wire import RECEIPT

WAITING, OUTCOMES = "support_requests", "support_outcomes"
MOST_OUTCOMES = 500
FINAL = (400, 410, 413, 422)
_OK = 200

Json = Dict[str, Any]


def enqueue(ledger: Ledger, about: str, path: str, body: str, *, identity: Json, until: float) -> None:
    """Queues a request, signed by `identity` also after this copy has got another one; moot at `until`."""
    request = {"about": about, "path": path, "body": body, "identity": identity, "until": until}
    ledger.put(WAITING, [*ledger.get(WAITING, []), request])


def waiting(ledger: Ledger, now: float) -> List[Json]:
    """The requests that are not moot, the oldest first."""
    return [each for each in ledger.get(WAITING, []) if each["until"] > now]


def request_of(asked: Json) -> Request:
    return signed(Identity(**asked["identity"]), asked["path"], asked["body"].encode())


def settle(ledger: Ledger, sent: Json, answer: Answer) -> Optional[str]:
    """The outcome if the server has receipted the request, which is no longer kept then; else None."""
    known = Identity(**sent["identity"])
    refused = answer.status in FINAL and answer.says_its_status()
    receipted = known.is_receipt(answer.headers.get(RECEIPT.lower()), sent["body"].encode(), answer.body)
    if not receipted or not (refused or answer.status == _OK):
        return None
    outcome = "refused" if refused else "acknowledged"
    outcomes = {**ledger.get(OUTCOMES, {}), sent["about"]: outcome}
    ledger.put(OUTCOMES, dict(list(outcomes.items())[-MOST_OUTCOMES:]))
    ledger.put(WAITING, [each for each in ledger.get(WAITING, []) if each != sent])
    return outcome
