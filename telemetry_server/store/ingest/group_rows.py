"""Uploads and pings as the JSON rows of the statement write_group."""

from collections.abc import Sequence
from typing import Any

import orjson

from telemetry_server.model import Ping, SignedUpload
from telemetry_server.store.ranges import multirange


def upload_row(upload: SignedUpload) -> dict[str, Any]:
    """The columns that the pings of an upload share."""
    return {
        "installation_id": upload.installation_id,
        "product_id": upload.product_id,
        "received_at": upload.received_at,
        "client_address": upload.client_address,
        "place": orjson.Fragment(upload.place),
        "numbers": _numbers(upload.pings),
        "last_sequence": upload.pings[-1].sequence,
    }


def ping_row(upload: SignedUpload, ping: Ping, written_state: bytes | None) -> dict[str, Any]:
    """A ping; without its facts if its state is written already."""
    return {
        "installation_id": upload.installation_id,
        "sequence": ping.sequence,
        "ping_id": ping.ping_id,
        "occurred_at": ping.occurred_at,
        "time_suspect": ping.time_suspect,
        "state": ping.state.hex(),
        "license_key_hash": ping.license_key_hash and ping.license_key_hash.hex(),
        "facts": None if ping.state == written_state else orjson.Fragment(ping.facts),
        "details": orjson.Fragment(ping.details),
        "features": ping.features and orjson.Fragment(ping.features),
        "verdict": ping.verdict,
        "claim_mismatch": ping.claim_mismatch,
        "source_mismatch": ping.source_mismatch,
    }


def _numbers(pings: Sequence[Ping]) -> str:
    """The sequence numbers of rising `pings` as a multirange."""
    first, last = pings[0].sequence, pings[-1].sequence
    if last - first == len(pings) - 1:
        return f"{{[{first},{last + 1})}}"
    return multirange([(ping.sequence, ping.sequence + 1) for ping in pings])
