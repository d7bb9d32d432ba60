"""From decoded JSON to a ping we may keep, or to the reasons why not. Pure."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
from msgspec import UNSET

from telemetry_server.check.explain import FieldFault, explain, has_forbidden_character
from telemetry_server.check.registry import (
    DIGEST_PATTERN,
    NAME_PATTERN,
    Carrier,
    Field,
    Kind,
    Level,
    Registry,
)
from telemetry_server.check.schema import type_of
from telemetry_server.model import Ping

_NAME = re.compile(NAME_PATTERN)
_DIGEST = re.compile(DIGEST_PATTERN)
_REMEMBERED_NAMES = 50_000
_REMEMBERED_FACTS = 200_000
_IDENTITY = {"ping_id", "sequence", "occurred_at"}


class Refused(Exception):
    """This ping is not kept. `faults` says why, one for each wrong field, never empty."""

    def __init__(self, faults: list[FieldFault]) -> None:
        self.faults = faults
        super().__init__(f"{faults[0].path}: {faults[0].detail}")


class PingReader:
    """Reads pings as the field registry declares them. One for a process; keeps a set of good names."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._type = type_of(Carrier.PING, registry)
        self._known = {section: {f.name for f in fields} for section, fields in registry.sections().items()}
        self._known[""] |= set(self._known) - {""}
        self._above = {level: _fields_above(registry, level) for level in Level}
        self._members_above = {level: _members_of(above) for level, above in self._above.items()}
        facts, details = _by_retention(registry)
        self._facts, self._details = _Excerpt(facts, "sdk"), _Excerpt(details)
        self._formats = _fields_with_formats(registry, facts)
        self._good_names: set[str] = set()
        self._sound_facts: set[int] = set()

    def keep(self, ping: Any, sdk: object = UNSET) -> Ping | None:
        """The `ping` that was decoded as `strict_upload_type`, without another look at its JSON.

        None where only `read` can tell what becomes of it: a field is above its level, or a name or
        digest is not sound. `sdk` is what the upload says of its client; it is kept among the facts.
        """
        for member in self._members_above[ping.privacy.level]:
            if getattr(ping, member) is not UNSET:
                return None
        return self._keep(ping, sdk)

    def read(self, raw: object, sdk: object = UNSET) -> Ping:
        """The ping in `raw`, which is changed: fields above its level are taken out first. Raises Refused."""
        if not isinstance(raw, dict):
            raise Refused(explain(raw, self._registry))
        stripped, unknown = self._strip(raw), self._count_unknown(raw)
        try:
            ping = msgspec.convert(raw, self._type)
        except msgspec.ValidationError as error:
            raise Refused(explain(raw, self._registry) or [FieldFault.unexplained(str(error))]) from None
        if unknown:
            self._refuse_the_unsound(raw)
        kept = self._keep(ping, sdk, unknown, stripped)
        if kept is None:
            raise Refused(explain(raw, self._registry) or [FieldFault.unexplained("a pattern does not hold")])
        return kept

    def _strip(self, raw: dict[str, Any]) -> int:
        privacy = raw.get("privacy")
        level = privacy.get("level") if isinstance(privacy, dict) else None
        if level == Level.USAGE or not isinstance(level, str) or level not in self._above:
            return 0
        return sum(_take_out(raw, field) for field in self._above[Level(level)])

    def _count_unknown(self, raw: dict[str, Any]) -> int:
        known = self._known
        unknown = 0 if known[""].issuperset(raw) else len(raw.keys() - known[""])
        for name, value in raw.items():
            if type(value) is dict and name in known and not known[name].issuperset(value):
                unknown += len(value.keys() - known[name])
        return unknown

    def _are_sound(self, ping: Any, facts: bytes) -> bool:
        """Whether the patterns of names and digests hold, which the types leave to us.

        Facts repeat from ping to ping: those seen before are known to be sound.
        """
        seen = hash(facts)
        if seen in self._sound_facts:
            return True
        names: list[str] = []
        digests: list[str] = []
        for section, name, kind in self._formats:
            holder = getattr(ping, section)
            value = None if holder is UNSET else getattr(holder, name)
            if value is None or value is UNSET:
                continue
            if kind is Kind.NAME:
                names.append(value)
            elif kind is Kind.DIGEST:
                digests.append(value)
            else:
                names += value
                digests += value.values()
        if not (self._are_names(names) and all(map(_is_digest, digests))):
            return False
        if len(self._sound_facts) >= _REMEMBERED_FACTS:
            self._sound_facts.clear()
        self._sound_facts.add(seen)
        return True

    def _are_names(self, names: Iterable[str]) -> bool:
        """Names repeat from ping to ping: the pattern is run once for each, the memory is bounded."""
        if self._good_names.issuperset(names):
            return True
        if not all(_NAME.match(name) and not name.endswith("\n") for name in names):
            return False
        if len(self._good_names) < _REMEMBERED_NAMES:
            self._good_names.update(names)
        return True

    def _refuse_the_unsound(self, raw: dict[str, Any]) -> None:
        faults = explain(raw, self._registry)
        if faults:
            raise Refused(faults)

    def _keep(self, ping: Any, sdk: object, unknown: int = 0, stripped: int = 0) -> Ping | None:
        """None where a name or a digest is not sound."""
        key_digest, ping.license.key_digest = ping.license.key_digest, None
        counters, usage = None, ping.usage
        if usage is not UNSET and usage.features is not UNSET:
            counters, usage.features = usage.features, UNSET
        facts = self._facts.of(ping, sdk)
        if not (
            self._are_sound(ping, facts)
            and (key_digest is None or _is_digest(key_digest))
            and (counters is None or self._are_names(counters))
        ):
            return None
        return Ping(
            ping.ping_id,
            ping.sequence,
            utc(ping.occurred_at),
            key_digest,
            facts.decode(),
            self._details.of(ping).decode(),
            None if counters is None else orjson.dumps(counters).decode(),
            unknown,
            stripped,
            ping.license.status,
            _told(ping.license, "source"),
            _told(ping.service, "environment"),
        )


class _Excerpt:
    """Some members of every ping, and what more is given with it, as one JSON object."""

    def __init__(self, members: list[str], *more: str) -> None:
        self._members = members
        fields = [(name, Any, UNSET) for name in (*members, *more)]
        self._type = msgspec.defstruct("Excerpt", fields, gc=False)
        self._encode = msgspec.json.Encoder().encode

    def of(self, ping: Any, *more: object) -> bytes:
        return self._encode(self._type(*[getattr(ping, name) for name in self._members], *more))


def _told(section: Any, name: str) -> str:
    """A member of a section that may not be there: the database too says "unknown" of what was not told."""
    value = None if section is UNSET else getattr(section, name)
    return "unknown" if value is None or value is UNSET else value


def _by_retention(registry: Registry) -> tuple[list[str], list[str]]:
    """The members of a ping that are facts, and the others. A section must be all of one class."""
    facts: list[str] = []
    details: list[str] = []
    for field in registry.of(Carrier.PING):
        member = field.section or field.name
        if member not in _IDENTITY:
            (facts if field.retention == "fact" else details).append(member)
    if mixed := set(facts) & set(details):
        raise ValueError(f"fields.toml: facts and details are mixed in {', '.join(sorted(mixed))}")
    return sorted(set(facts)), sorted(set(details))


def check_characters(raw: object) -> None:
    """Raises Refused where a string or a key of `raw` holds U+0000, which PostgreSQL cannot keep."""
    if has_forbidden_character(raw):
        raise Refused([FieldFault.forbidden_character()])


def utc(moment: datetime) -> datetime:
    """`moment` in UTC; the far ends of the calendar, which have no UTC, stay at the calendar's end."""
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return moment.replace(tzinfo=UTC)


def _fields_above(registry: Registry, level: Level) -> tuple[Field, ...]:
    return tuple(field for field in registry.of(Carrier.PING) if not level.allows(field.level))


def _members_of(fields: Iterable[Field]) -> tuple[str, ...]:
    """The members of a ping that the fields lie in."""
    return tuple(dict.fromkeys(field.section or field.name for field in fields))


def _fields_with_formats(registry: Registry, facts: list[str]) -> tuple[tuple[str, str, Kind], ...]:
    """Section, name and kind of the members that have a pattern. They must be facts: those are remembered."""
    kinds = {Kind.NAME, Kind.DIGEST, Kind.DIGESTS}
    found = tuple((f.section, f.name, f.kind) for f in registry.of(Carrier.PING) if f.kind in kinds)
    if others := {section for section, _, _ in found} - set(facts):
        raise ValueError(f"fields.toml: a name or a digest is no fact in {', '.join(sorted(others))}")
    return found


def _take_out(raw: dict[str, Any], field: Field) -> int:
    holder = raw.get(field.section) if field.section else raw
    if not isinstance(holder, dict) or field.name not in holder:
        return 0
    del holder[field.name]
    if not holder:
        del raw[field.section]
    return 1


def _is_digest(value: Any) -> bool:
    return type(value) is str and len(value) == 64 and _DIGEST.match(value) is not None  # noqa: PLR2004
