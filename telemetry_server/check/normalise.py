"""Brings the JSON of other encoders into the form that the strict types take. Pure.

`null` becomes an absent optional member, `[]` an empty object, a leap second the second before, and a time
is cut to microseconds. Unknown fields, and those above the level of a ping, are counted and removed.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
from msgspec import Raw

from telemetry_server.check import json_text
from telemetry_server.check.fields import Carrier, Field, FieldType, Level, Registry

Members: TypeAlias = dict[str, Raw | dict[str, Raw]]
"""The known members of a ping or an upload, by section or field. A section that is no object stays Raw."""

_NULL = Raw(b"null")
_EMPTY_ARRAY = re.compile(rb"\[[ \t\n\r]*\]")
_EMPTY_OBJECT = Raw(b"{}")
_TIME = re.compile(
    rb'"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:)([0-9]{2})'
    rb'(?:(\.[0-9]{1,6})[0-9]*)?(Z|z|[+-][0-9]{2}:[0-9]{2})"'
)
_MAPS = {FieldType.COUNTERS, FieldType.DIGESTS}


@dataclass(frozen=True, slots=True)
class Normalised:
    """The known members, and the numbers of members that were unknown or above the level."""

    members: Members
    unknown: int
    stripped: int


class Normaliser:
    """Brings the members of one carrier into the form of the field registry."""

    def __init__(self, carrier: Carrier, registry: Registry) -> None:
        sections = registry.sections(carrier)
        self._own = sections.pop("")
        self._sections = {name: _Section(fields) for name, fields in sections.items()}
        self._known = {field.name for field in self._own} | set(self._sections)

    def normalise(self, came: dict[str, Raw]) -> Normalised:
        """The members of `came` that are known and not above the level of the ping."""
        level = _level(came.get("privacy"))
        kept: Members = {**_present(self._own, came)}
        unknown, stripped = len(came.keys() - self._known), 0
        for name, known in self._sections.items():
            section = known.open(came[name]) if name in came else None
            if isinstance(section, dict):
                unknown += len(section.keys() - known.names)
                stripped += len(_present(known.above[level], section))
                if not known.allowed[level]:
                    continue
                section = _present(known.allowed[level], section)
            if section is not None:
                kept[name] = section
        return Normalised(kept, unknown, stripped)


class _Section:
    """The fields of a section, and which of them each level allows."""

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.names = {field.name for field in fields}
        self.allowed = {level: tuple(f for f in fields if level.allows(f.level)) for level in Level}
        self.above = {level: tuple(f for f in fields if not level.allows(f.level)) for level in Level}
        self._required = any(field.required for field in fields)

    def open(self, value: Raw) -> dict[str, Raw] | Raw | None:
        """The members of the section; None if it is absent, the value itself if it is not an object."""
        if not self._required:
            if value == _NULL:
                return None
            if _EMPTY_ARRAY.fullmatch(value):
                return {}
        try:
            return json_text.members(value)
        except msgspec.ValidationError:
            return value


def _level(privacy: Raw | None) -> Level:
    """The ping's level; the highest if it has no known one, which the strict types then refuse."""
    try:
        return Level(json_text.scalar(json_text.members(privacy)["level"])) if privacy else Level.USAGE
    except (msgspec.ValidationError, KeyError, ValueError):
        return Level.USAGE


def _present(fields: tuple[Field, ...], came: dict[str, Raw]) -> dict[str, Raw]:
    """The values of those `fields` that are present, each as the strict types take it."""
    return {
        field.name: _value(field, came[field.name])
        for field in fields
        if field.name in came and (field.required or came[field.name] != _NULL)
    }


def _value(field: Field, value: Raw) -> Raw:
    if field.kind in _MAPS and _EMPTY_ARRAY.fullmatch(value):
        return _EMPTY_OBJECT
    if field.kind is FieldType.TIMESTAMP and (found := _TIME.fullmatch(value)):
        minute, second, fraction, offset = found.groups()
        return Raw(b'"%s%s%s%s"' % (minute, b"59" if second == b"60" else second, fraction or b"", offset))
    return value
