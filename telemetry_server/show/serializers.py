"""Installations and pings in the API: every section and field is present, null if unknown.

The sections are those of the field registry, so a newly declared field appears without a change here.
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
from telemetry_server.model import Lifecycle, Moment, NonNegative, SequenceNumber, Simulated, Verdict
from telemetry_server.store.fleet.installations import Row

_IN_COLUMNS = {FieldType.COUNTERS, FieldType.DIGEST}  # of a digest only the keyed hash is stored

Counters: TypeAlias = dict[str, NonNegative]


def _declared(name: str, fields: Iterable[Field]) -> type[Struct]:
    """A struct of those fields in their sections, with the default null.

    Values are not validated again: those that an older version declared are shown, too.
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
    "Facts",  # constant from ping to ping; includes the sdk of the upload
    sorted(
        (field for field in _fields if field.retention == "fact" and field.kind not in _IN_COLUMNS),
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
    """The fields of an installation that are columns."""

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
    """The fields of a ping that are columns."""

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
    """The row as an Installation."""
    columns = (row[name] for name in InstallationColumns.__struct_fields__)
    return Installation(*columns, *astuple(_read_facts(row["facts"])), place(row["place"]))


def ping_item(row: Row) -> Struct:
    """The row as a PingShown."""
    columns = (row[name] for name in PingColumns.__struct_fields__)
    declared = *astuple(_read_details(row["details"])), *astuple(_read_facts(row["facts"]))
    features = _read_counters(row["features"]) if row["features"] else {}
    return PingShown(*columns, *declared, place(row["place"]), features)
