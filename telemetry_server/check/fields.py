"""The field registry, read once from `fields.toml`: every field a ping may carry."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from telemetry_server.errors import SettingsError
from telemetry_server.model import LARGEST_INTEGER

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
DIGEST_PATTERN = r"^[0-9a-f]{64}$"
DEEPEST_PING = 8
MOST_PINGS = 500


class Level(StrEnum):
    """How much a copy may send, least first."""

    LICENSE = "license"
    SYSTEM = "system"
    USAGE = "usage"

    def allows(self, other: "Level") -> bool:
        return _RANK[self] >= _RANK[other]


_RANK = {level: rank for rank, level in enumerate(Level)}


class Carrier(StrEnum):
    """Where a field lies: in each ping, or once in the upload around them."""

    PING = "ping"
    UPLOAD = "upload"


class FieldType(StrEnum):
    """The types a field may have."""

    STRING = "string"
    NAME = "name"
    ENUM = "enum"
    INTEGER = "integer"
    TIMESTAMP = "timestamp"
    UUID = "uuid"
    DIGEST = "digest"
    COUNTERS = "counters"
    DIGESTS = "digests"


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field. `path` is dotted: `license.status`."""

    path: str
    kind: FieldType
    level: Level
    purpose: str
    retention: str
    since: str
    text: str
    carrier: Carrier = Carrier.PING
    required: bool = False
    lower_case: bool = False
    none: bool = False
    values: tuple[str, ...] = ()
    max_length: int = 256
    max_items: int = 0
    minimum: int = -LARGEST_INTEGER

    @property
    def section(self) -> str:
        """The object the field lies in; empty for a field of the ping itself."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a class of fields is kept, and what happens then; `days` is None for classes kept for ever."""

    days: int | None
    then: str

    def outlasts(self, other: "Retention") -> bool:
        return other.days is not None and (self.days is None or self.days > other.days)

    def __str__(self) -> str:
        return "for ever" if self.days is None else f"{self.days} days"


@dataclass(frozen=True, slots=True)
class Registry:
    """Every field by its dotted path, in the order declared."""

    fields: dict[str, Field]
    purposes: dict[str, str]
    retention: dict[str, Retention]

    def of(self, carrier: Carrier) -> tuple[Field, ...]:
        return tuple(field for field in self.fields.values() if field.carrier is carrier)

    def sections(self, carrier: Carrier = Carrier.PING) -> dict[str, tuple[Field, ...]]:
        """The fields by the object they lie in; those of the ping or upload itself under the empty name."""
        grouped: dict[str, list[Field]] = {"": []}
        for field in self.of(carrier):
            grouped.setdefault(field.section, []).append(field)
        return {section: tuple(fields) for section, fields in grouped.items()}

    def keeping(self, days: Iterable[tuple[str, int | None]]) -> "Registry":
        """The registry with other retentions: (class, days), None for ever. Raises SettingsError."""
        retention = dict(self.retention)
        for name, kept in days:
            if name not in retention:
                raise SettingsError(
                    f"TELEMETRY_RETENTION_DAYS: there is no class {name!r}; there are {', '.join(retention)}."
                )
            retention[name] = replace(retention[name], days=kept)
        if retention["ping"].outlasts(retention["fact"]):
            raise SettingsError(
                f"TELEMETRY_RETENTION_DAYS: fact ({retention['fact']}) must not be shorter than "
                f"ping ({retention['ping']}): a ping is read with its facts."
            )
        return replace(self, retention=retention)


@cache
def load_registry() -> Registry:
    """The registry of this release. A wrong declaration raises at once."""
    text = resources.files("telemetry_server").joinpath("fields.toml").read_text("utf-8")
    return parse_registry(tomllib.loads(text))


def parse_registry(document: dict[str, Any]) -> Registry:
    purposes: dict[str, str] = document["purposes"]
    retention = {name: Retention(**entry) for name, entry in document["retention"].items()}
    fields = {path: _field(path, dict(entry)) for path, entry in document["field"].items()}
    for field in fields.values():
        if field.purpose not in purposes or field.retention not in retention:
            raise ValueError(f"fields.toml: {field.path} names an unknown purpose or retention")
    return Registry(fields, purposes, retention)


def _field(path: str, entry: dict[str, Any]) -> Field:
    kind, level = FieldType(entry.pop("type")), Level(entry.pop("level"))
    carrier = Carrier(entry.pop("carrier", "ping"))
    return Field(path, kind, level, carrier=carrier, values=tuple(entry.pop("values", ())), **entry)
