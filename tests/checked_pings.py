"""Pings and uploads as the pipeline has them before they are written: the one builder for tests below HTTP.

A ping as JSON, as a client sends it, is `make_ping` of installation.py.
"""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from telemetry_server.model import Ping, SignedUpload


def make_checked_ping(sequence=1, *, facts=None, features=None, details="{}", **changes):
    """A licensed copy's heartbeat; documents may be given as dicts. The ping id is that of the sequence."""
    fields = {
        "ping_id": UUID(int=sequence),
        "occurred_at": datetime.now(UTC),
        "key_digest": None,
        "unknown": 0,
        "stripped": 0,
        "state": b"s" * 16,
    }
    facts = _encoded({"license": {"status": "licensed", "source": "direct"}} if facts is None else facts)
    documents = {"facts": facts, "features": _encoded(features), "details": _encoded(details)}
    return Ping(**fields | documents | {"sequence": sequence} | changes)


def make_signed_upload(installation, product, *pings, at=None, address="192.0.2.7", place="{}"):
    """The upload of these pings by one installation, received `at` (default: now)."""
    return SignedUpload(installation, product, at or datetime.now(UTC), address, _encoded(place), list(pings))


def _encoded(document):
    if document is None or isinstance(document, str):
        return document
    return msgspec.json.encode(document).decode()
