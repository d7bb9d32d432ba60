"""How an installation and a ping look in the API: every section and field is there, null if unknown.

The sections are those of the field registry, so a field that is declared shows up by itself.
"""

from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import astuple

from telemetry_server.check.fields import Carrier, Field, FieldType, load_registry
from telemetry_server.check.ping import IDENTITY
from telemetry_server.check.schema import field_schema
from telemetry_server.enrich.places.place import Place
from telemetry_server.model import Lifecycle, Moment, NonNegative, SequenceNumber, Verdict
from telemetry_server.store.fleet.installations import Row

_OF_THEIR_OWN = {FieldType.COUNTERS, FieldType.DIGEST}  # columns; a digest is kept as a keyed hash alone

Counters: TypeAlias = dict[str, NonNegative]
Simulated: TypeAlias = Annotated[bool, Meta(description="The product's fleet is simulated.")]


def _declared(name: str, fields: Iterable[Field]) -> type[Struct]:
    """A struct of those fields in their sections, null where they are unknown.

    Values are taken as they are stored: what an older version declared is shown, too.
    """
    sections: dict[str, list[Field]] = {}
    for field in fields:
        sections.setdefault(field.section or field.name, []).append(field)
    members: list[tuple[str, Any, Any]] = []
    for member, declared in sections.items():
        own = [(field.name, _shown(field), None) for field in declared]
        if declared[0].section:
            section = msgspec.defstruct(f"{member.title()}{name}", own, gc=False)
            members.append((member, section, msgspec.field(default_factory=section)))
        else:
            members += own
    return msgspec.defstruct(name, members, gc=False)


def _shown(field: Field) -> Any:
    return Annotated[Any, Meta(extra_json_schema={"anyOf": [field_schema(field), {"type": "null"}]})]


def _members(kind: type[Struct]) -> list[tuple[str, Any]]:
    return [(field.name, field.type) for field in msgspec.structs.fields(kind)]


_fields = load_registry().fields.values()
Facts = _declared(
    "Facts",  # what stays the same from ping to ping, the upload's sdk included
    sorted(
        (field for field in _fields if field.retention == "fact" and field.kind not in _OF_THEIR_OWN),
        key=lambda field: field.carrier is Carrier.UPLOAD,
    ),
)
Details = _declared(
    "Details",
    (
        field
        for field in _fields
        if field.carrier is Carrier.PING
        and field.retention != "fact"
        and field.path not in IDENTITY
        and field.kind is not FieldType.COUNTERS
    ),
)


class InstallationColumns(Struct):
    """What of an installation lies in columns."""

    installation_id: UUID
    product: str
    simulated: Simulated
    first_received_at: Moment
    last_received_at: Moment
    last_occurred_at: Moment
    last_sequence: SequenceNumber
    pings: Annotated[NonNegative, Meta(description="Pings received, each counted once.")]
    missing: Annotated[NonNegative, Meta(description="Numbers below the highest that have not come yet.")]
    lost: Annotated[NonNegative, Meta(description="Numbers that were given up.")]
    client_address: str | None
    verdict: Annotated[Verdict, Meta(description="What the registry says of the claim today.")]
    claim_mismatch: Annotated[bool, Meta(description="license.status contradicts the verdict.")]
    source_mismatch: Annotated[bool, Meta(description="license.source differs from the registry's.")]
    judged_at: Annotated[Moment, Meta(description="Time of that verdict.")]
    license_id: Annotated[UUID | None, Meta(description="The license that has its key.")]
    life: Lifecycle
    life_since: Moment


class PingColumns(Struct):
    """What of a ping lies in columns."""

    ping_id: UUID
    sequence: SequenceNumber
    installation_id: UUID
    product: str
    simulated: Simulated
    received_at: Moment
    occurred_at: Moment
    time_suspect: bool
    client_address: str | None
    verdict: Annotated[Verdict | None, Meta(description="Of the claim when the ping came; null: none yet.")]
    claim_mismatch: bool | None
    source_mismatch: bool | None


Installation = msgspec.defstruct(
    "Installation", [*_members(Facts), ("place", Place)], bases=(InstallationColumns,)
)
PingShown = msgspec.defstruct(
    "PingShown",
    [*_members(Details), *_members(Facts), ("place", Place), ("features", Counters)],
    bases=(PingColumns,),
)

_read_facts = msgspec.json.Decoder(Facts).decode
_read_details = msgspec.json.Decoder(Details).decode
_read_counters = msgspec.json.Decoder(dict[str, int]).decode
place = msgspec.json.Decoder(Place).decode


def installation_item(row: Row) -> Struct:
    """An Installation; a field of it that is declared is in the section of its name."""
    columns = (row[name] for name in InstallationColumns.__struct_fields__)
    return Installation(*columns, *astuple(_read_facts(row["facts"])), place(row["place"]))


def ping_item(row: Row) -> Struct:
    """A PingShown."""
    columns = (row[name] for name in PingColumns.__struct_fields__)
    declared = *astuple(_read_details(row["details"])), *astuple(_read_facts(row["facts"]))
    features = _read_counters(row["features"]) if row["features"] else {}
    return PingShown(*columns, *declared, place(row["place"]), features)
