"""Over an air gap: what waits for the server as one file, and the file of its receipts.

The server answers a bundle as it would have answered each request over the network, and so the receipts are
followed as the answers would have been. Any order is fine, and so is any number of times.
"""

from __future__ import annotations

import base64
import json
import os
import time
from hashlib import sha256
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import _wire as wire
from ._answers import CREATED, Answer
from ._engine import Engine, line_of
from ._identity import Identity, Request
from ._ledger import Ledger
from ._uploader import SDK, Exchange

LARGEST_BUNDLE = 2 * 2**20
MOST_REQUESTS = 200
LARGEST_RECEIPTS = 32 * 2**20
ENROLLING = "enrolling_bundles"
MOST_ENROLLING = 20
FOLLOWED = (200, 202, 400, 410, 413, 415, 422)  # the others change with time: what they refuse is kept

Json = Dict[str, Any]


class Exported(NamedTuple):
    """What is in a bundle: its requests by path; and the number of those that found no room."""

    paths: List[str]
    left: int


class Imported(NamedTuple):
    """What receipts changed: pings acknowledged and refused, requests not taken, pings that still wait.

    `news`: what whoever imported has to know.
    """

    acknowledged: int
    refused: int
    not_taken: int
    queued: int
    news: List[str]


def export(engine: Engine, path: str) -> Exported:
    """Writes all that waits for the server into a bundle. Raises ValueError, OSError and Unavailable."""
    engine.collect()
    standing = engine.status()
    if standing["storage"] == "memory":
        raise ValueError(f"nothing can be kept in {standing['state_dir']}: {standing['why_memory']}")

    def pack(ledger: Ledger, exchanges: List[Exchange]) -> Tuple[bytes, Exported]:
        known, requests = ledger.identity(), [each.request for each in exchanges]
        enrols = any(request.path == wire.ENROLL_PATH for request in requests)
        if known is None:  # a bundle without a seal carries nothing else
            requests = [request for request in requests if request.path == wire.ENROLL_PATH]
        if not requests:
            raise ValueError(_why_nothing(standing, known))
        bundle_id = wire.uuid7()
        if enrols:
            ledger.put(ENROLLING, [*ledger.get(ENROLLING, [])[1 - MOST_ENROLLING :], bundle_id])
        lines, taken = _lines(known, bundle_id, requests)
        seal = {"seal": known.signature(wire.BUNDLES_PATH, lines)} if known else _digest(lines)
        paths = [request.path for request in requests[:taken]]
        return lines + _line(seal), Exported(paths, len(requests) - taken)

    content, exported = engine.carry(pack)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return exported


def follow(engine: Engine, path: str) -> Imported:
    """Follows the receipts in a file. Raises ValueError for any other file, and Unavailable."""
    head, lines, seal = _read(path)

    def settle(ledger: Ledger, exchanges: List[Exchange]) -> Imported:
        known, queued, refused = ledger.identity(), ledger.queued(), ledger.get("total_refused", 0)
        news = _check(head, lines, seal, ledger)
        not_taken = 0
        if not news:
            not_taken = _settle(ledger, exchanges, head, lines)
            news = _news(ledger, known)
        refused = ledger.get("total_refused", 0) - refused
        left = ledger.queued()
        return Imported(max(0, queued - left - refused), refused, not_taken, left, news)

    return engine.carry(settle)


# ── bundles ─────────────────────────────────────────────────────────────────────────────────


def _lines(known: Optional[Identity], bundle_id: str, requests: List[Request]) -> Tuple[bytes, int]:
    """All lines but the seal, and the number of requests that are in them."""
    head = {
        "bundle": 1,
        "bundle_id": bundle_id,
        "installation_id": known.installation_id if known else None,
        "created_at": wire.timestamp(time.time()),
        "sdk": SDK,
    }
    lines, size = [_line(head)], LARGEST_BUNDLE - 1024  # for head and seal
    for request in requests[:MOST_REQUESTS]:
        line = line_of(request).encode()
        size -= len(line)
        if size < 0:
            break
        lines.append(line)
    return b"".join(lines), len(lines) - 1


def _why_nothing(standing: Json, known: Optional[Identity]) -> str:
    if standing["why_off"]:
        return f"nothing is exported: {standing['why_off']}"
    if known is None:
        return "this copy has no identity yet: pass --product-key, or import an enrolment file"
    return "nothing waits for the server"


def _line(content: Json) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _digest(lines: bytes) -> Json:
    return {"sha256": sha256(lines).hexdigest()}


# ── receipts ────────────────────────────────────────────────────────────────────────────────


def _read(path: str) -> Tuple[Json, bytes, Json]:
    """First line, all lines but the last, and the last. Raises ValueError."""
    with open(path, "rb") as file:
        content = file.read(LARGEST_RECEIPTS + 1)
    lines, _, last = content.rstrip(b"\n").rpartition(b"\n")
    head, seal = _json(lines.partition(b"\n")[0] or last), _json(last)
    if head.get("bundle") == 1:
        raise ValueError(f"{path} is a bundle for the server, which answers it with a file of receipts")
    if head.get("receipts") != 1 or len(content) > LARGEST_RECEIPTS:
        raise ValueError(f"{path} is no file of receipts")
    if "seal" not in seal and "sha256" not in seal:
        raise ValueError(f"{path} was cut short: copy the whole file")
    return head, lines + b"\n", seal


def _check(head: Json, lines: bytes, seal: Json, ledger: Ledger) -> List[str]:
    """Why nothing changes, if these receipts are old. Raises ValueError if they are not of this copy.

    The receipts of a copy that had no identity are known by the id of its bundle, which no one else knows.
    """
    known, whose = ledger.identity(), head.get("installation_id")
    if whose is None:
        if head.get("bundle_id") not in ledger.get(ENROLLING, []):
            raise ValueError("these receipts answer the bundle of another copy")
        if _digest(lines) != seal:
            raise ValueError("the file was changed on its way: copy it again")
        return [] if known is None else ["This copy has its identity already; nothing changed."]
    if known is None or whose != known.installation_id:
        if whose == ledger.get("parent"):
            return ["These receipts are for the identity that this copy had before; nothing changed."]
        mine = f"this is {known.installation_id}" if known else "this copy has no identity yet"
        raise ValueError(f"these receipts are for installation {whose}, and {mine}")
    if not known.is_receipt(str(seal.get("seal")), str(head.get("bundle_id")).encode(), lines):
        raise ValueError("the file was changed on its way: copy it again")
    return []


def _settle(ledger: Ledger, exchanges: List[Exchange], head: Json, lines: bytes) -> int:
    """Follows each answer to what still waits; returns the number of those that have to be sent again."""
    waiting = {_key(each.request.path, sha256(each.request.body).hexdigest()): each for each in exchanges}
    issues, not_taken = head.get("bundle_id") in ledger.get(ENROLLING, []), 0
    for line in lines.splitlines()[1:]:
        receipt = _json(line)
        exchange = waiting.pop(_key(receipt.get("path"), receipt.get("sha256")), None)
        if exchange is None or (receipt.get("path") == wire.ENROLL_PATH and not issues):
            continue  # it was acknowledged before, over the network or by other receipts
        answer = _answer(receipt)
        if answer.status in (CREATED if receipt.get("path") == wire.ENROLL_PATH else FOLLOWED):
            exchange.settle(ledger, answer)
        else:
            not_taken += 1
    return not_taken


def _key(path: Any, digest: Any) -> Tuple[Any, Any]:
    return (path, None if path == wire.ENROLL_PATH else digest)


def _answer(receipt: Json) -> Answer:
    """The answer in a line of receipts; none (status 0) in a damaged one."""
    try:
        headers = {name.lower(): str(value) for name, value in receipt["headers"].items()}
        return Answer(int(receipt["status"]), headers, base64.b64decode(receipt["body"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        return Answer(0, {}, b"", "the line is damaged")


def _news(ledger: Ledger, before: Optional[Identity]) -> List[str]:
    """What whoever carries the files has to know."""
    now = ledger.identity()
    if ledger.get("stopped"):
        return ["The server has erased this installation: nothing is collected any more."]
    if now is None and before is not None:
        return ["The server has erased this installation, as it was asked to."]
    if now is not None and now != before:
        return [f"This is now installation {now.installation_id}. Export once more to send its pings."]
    if ledger.get("reenrol"):
        return ["Another copy goes on under this identity. Export once more, for an identity of its own."]
    return []


def _json(line: bytes) -> Json:
    """The object in a line; empty for anything else."""
    try:
        found = json.loads(line.decode())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
