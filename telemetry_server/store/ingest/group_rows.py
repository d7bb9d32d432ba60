"""Uploads and pings as the JSON rows of the statement write_group; forks as the parameters of theirs."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from telemetry_server.model import Ping, SignedUpload
from telemetry_server.store.ingest.feature_names import counters_of
from telemetry_server.store.json_rows import as_json
from telemetry_server.store.ranges import multirange


def group_parameters(
    uploads: Sequence[SignedUpload], written: Mapping[UUID, bytes], numbers: Mapping[str, int]
) -> tuple[str, str]:
    """The first parameters of write_group.

    `written`: the state that each installation is known to have. `numbers`: those of features.
    """
    pings = [
        ping_row(upload, ping, written.get(upload.installation_id), numbers)
        for upload in uploads
        for ping in upload.pings
    ]
    return as_json(map(upload_row, uploads)), as_json(pings)


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


def ping_row(
    upload: SignedUpload, ping: Ping, written_state: bytes | None, numbers: Mapping[str, int]
) -> dict[str, Any]:
    """A ping; without its facts if its state is written already. `numbers` are those of features."""
    counters, features = (None, None) if ping.features is None else counters_of(ping.features, numbers)
    return {
        "installation_id": upload.installation_id,
        "sequence": ping.sequence,
        "ping_id": ping.ping_id,
        "occurred_at": ping.occurred_at,
        "time_suspect": ping.time_suspect,
        "state": ping.state.hex(),
        "license_key_hash": ping.license_key_hash and ping.license_key_hash.hex(),
        "facts": None if ping.state == written_state else orjson.Fragment(ping.facts),
        "reason": ping.reason,
        "used_since": ping.used_since,
        "details": ping.details and orjson.Fragment(ping.details),
        "counters": counters and counters.hex(),
        "features": features,
        "verdict": ping.verdict,
        "claim_mismatch": ping.claim_mismatch,
        "source_mismatch": ping.source_mismatch,
    }


def fork_row(upload: SignedUpload, ping: Ping, stored_ping_id: UUID) -> tuple[Any, ...]:
    """The parameters of record_forks for one ping."""
    return (
        *(upload.installation_id, ping.sequence, ping.ping_id, stored_ping_id, upload.received_at),
        *(ping.occurred_at, upload.client_address, ping.facts, _details(ping), upload.place),
    )


def _details(ping: Ping) -> str:
    """What does not stay the same from ping to ping, as one JSON object."""
    document = orjson.loads(ping.details) if ping.details else {}
    if ping.reason is not None:
        document["reason"] = ping.reason
    if ping.used_since is not None:
        document["usage"] = {"since": ping.used_since}
    return orjson.dumps(document, option=orjson.OPT_UTC_Z).decode()


def _numbers(pings: Sequence[Ping]) -> str:
    """The sequence numbers of rising `pings` as a multirange."""
    first, last = pings[0].sequence, pings[-1].sequence
    if last - first == len(pings) - 1:
        return f"{{[{first},{last + 1})}}"
    return multirange([(ping.sequence, ping.sequence + 1) for ping in pings])
