"""How an installation and a ping look in the API: every section and field is there, null if unknown.

The sections are those of the field registry, so a field that is declared shows up by itself.
"""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson

from telemetry_server.check.fields import Carrier, Field, FieldType, load_registry
from telemetry_server.enrich.places.place import Place
from telemetry_server.store.fleet.installations import Row

PLACE = tuple(field.name for field in dataclasses.fields(Place))
_IDENTITY = {"ping_id", "sequence", "occurred_at"}
_NEVER_SHOWN = {FieldType.DIGEST}  # the license key's digest is replaced by a keyed hash before it is stored
_KEPT_IN_FACTS = "fact"
_JUDGED = ("verdict", "claim_mismatch", "source_mismatch")


def installation_item(row: Row) -> dict[str, Any]:
    return {
        "installation_id": row["installation_id"],
        "product": row["product"],
        "simulated": row["simulated"],
        "first_received_at": row["first_received_at"],
        "last_received_at": row["last_received_at"],
        "last_occurred_at": row["last_occurred_at"],
        "last_sequence": row["last_sequence"],
        "pings": row["pings"],
        "missing": row["missing"],
        "lost": row["lost"],
        "client_address": row["client_address"],
        **{name: row[name] for name in (*_JUDGED, "judged_at", "license_id", "life", "life_since")},
        **sections(orjson.loads(row["facts"]), fact_fields()),
        "place": place(row["place"]),
    }


def ping_item(row: Row) -> dict[str, Any]:
    details = orjson.loads(row["details"])
    return {
        "ping_id": row["ping_id"],
        "sequence": row["sequence"],
        "installation_id": row["installation_id"],
        "product": row["product"],
        "simulated": row["simulated"],
        "received_at": row["received_at"],
        "occurred_at": row["occurred_at"],
        "time_suspect": row["time_suspect"],
        "client_address": row["client_address"],
        **{name: row[name] for name in _JUDGED},
        **sections(details, detail_fields()),
        **sections(orjson.loads(row["facts"]), fact_fields()),
        "place": place(row["place"]),
        "features": orjson.loads(row["features"]) if row["features"] else {},
    }


def place(stored: str) -> dict[str, Any]:
    known: dict[str, Any] = orjson.loads(stored)
    return dict.fromkeys(PLACE) | known


def sections(stored: Mapping[str, Any], declared: tuple[Field, ...]) -> dict[str, Any]:
    """`stored` in the shape of the `declared` fields."""
    shaped: dict[str, Any] = {}
    for field in declared:
        if field.section:
            holder = stored.get(field.section) or {}
            shaped.setdefault(field.section, {})[field.name] = holder.get(field.name)
        else:
            shaped[field.name] = stored.get(field.name)
    return shaped


@cache
def fact_fields() -> tuple[Field, ...]:
    """What stays the same from ping to ping, the upload's sdk included."""
    registry = load_registry()
    return tuple(
        field
        for field in (*registry.of(Carrier.PING), *registry.of(Carrier.UPLOAD))
        if field.retention == _KEPT_IN_FACTS and field.kind not in _NEVER_SHOWN
    )


@cache
def detail_fields() -> tuple[Field, ...]:
    """What does not, but for identity and counters, which have columns of their own."""
    return tuple(
        field
        for field in load_registry().of(Carrier.PING)
        if field.retention != _KEPT_IN_FACTS
        and field.path not in _IDENTITY
        and field.kind is not FieldType.COUNTERS
    )
