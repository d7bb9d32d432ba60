"""Pings and uploads as the pipeline has them before they are written: the one builder for tests below HTTP.

A ping as JSON, as a client sends it, is `make_ping` of installation.py.
"""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from telemetry_server.model import Ping, SignedUpload


def make_checked_ping(sequence=1, *, facts=None, **changes):
    """A licensed copy's heartbeat; facts may be given as a dict. The ping id is that of the sequence."""
    fields = {
        "ping_id": UUID(int=sequence),
        "occurred_at": datetime.now(UTC),
        "key_digest": None,
        "reason": "heartbeat",
        "used_since": None,
        "details": None,
        "features": None,
        "unknown": 0,
        "stripped": 0,
        "state": b"s" * 16,
    }
    facts = _encoded({"license": {"status": "licensed", "source": "direct"}} if facts is None else facts)
    return Ping(**fields | {"facts": facts, "sequence": sequence} | changes)


def make_signed_upload(installation, product, *pings, at=None, address="192.0.2.7", place="{}"):
    """The upload of these pings by one installation, received `at` (default: now)."""
    return SignedUpload(installation, product, at or datetime.now(UTC), address, _encoded(place), list(pings))


def _encoded(document):
    return document if isinstance(document, str) else msgspec.json.encode(document).decode()
