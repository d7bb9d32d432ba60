"""Reads the JSON of a ping: gives the ping to keep, or the reason for its refusal. Pure."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson

from telemetry_server.check.explain import FORBIDDEN_CHARACTER, FieldFault, explain
from telemetry_server.check.fields import (
    DEEPEST_PING,
    DIGEST_PATTERN,
    NAME_PATTERN,
    Carrier,
    Field,
    FieldType,
    Level,
    Registry,
)
from telemetry_server.check.json_text import NUL, has_forbidden_character, is_deeper_than, members
from telemetry_server.check.normalise import Normalised, Normaliser
from telemetry_server.check.schema import type_of
from telemetry_server.model import NONE, UNKNOWN, Ping, Reason
from telemetry_server.text import written_out

_NAME = re.compile(NAME_PATTERN)
_DIGEST = re.compile(DIGEST_PATTERN)
_REMEMBERED_NAMES = 50_000
_REMEMBERED_FACTS = 200_000
IDENTITY = {"ping_id", "sequence", "occurred_at"}
_ATTRIBUTES = {"reason", "usage.since", "usage.features"}
"""Fields that a Ping has as attributes of their own."""


class Refused(Exception):
    """The ping is not kept because of its first fault."""

    def __init__(self, fault: FieldFault) -> None:
        self.fault = fault
        super().__init__(f"{fault.path}: {fault.detail}")


class PingReader:
    """Reads pings as the field registry declares them. One per process: it caches valid names and facts."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._decode = msgspec.json.Decoder(type_of(Carrier.PING, registry)).decode
        self._normalise = Normaliser(Carrier.PING, registry).normalise
        self._members_above = {level: _members_above(registry, level) for level in Level}
        facts, details = _by_retention(registry)
        self._facts, self._details = _Excerpt(facts, "sdk"), _Excerpt(details)
        self._formats = _fields_with_formats(registry, facts)
        self._lower_case = _by_section(registry, facts, lambda field: field.lower_case)
        self._nones = _by_section(registry, facts, lambda field: field.none)
        self._valid_names: set[str] = set()
        self._valid_facts: set[int] = set()

    def keep(self, ping: Any, sdk: object = None) -> Ping | None:
        """The Ping of a decoded `ping`, without another look at its JSON.

        None where only `read` can decide: a field is above its level, or a name or a digest is not valid.
        `sdk` is the upload's description of its client; it is kept among the facts.
        """
        for member in self._members_above[ping.privacy.level]:
            if getattr(ping, member) is not None:
                return None
        return self._keep(ping, sdk)

    def read(self, text: bytes, sdk: object = None) -> Ping:
        """The ping in `text`, which must be JSON of a bounded length. Raises Refused."""
        try:
            kept = None if NUL in text else self.keep(self._decode(text), sdk)
        except (msgspec.DecodeError, UnicodeDecodeError):
            kept = None
        return kept or self._read_thoroughly(text, sdk)

    def _read_thoroughly(self, text: bytes, sdk: object) -> Ping:
        if has_forbidden_character(text):
            raise Refused(FORBIDDEN_CHARACTER)
        try:
            came = members(text)
        except msgspec.ValidationError:
            raise Refused(FieldFault("", Reason.WRONG_TYPE, "a ping is an object")) from None
        if is_deeper_than(DEEPEST_PING, text):
            raise Refused(FieldFault("", Reason.TOO_DEEP, f"nested deeper than {DEEPEST_PING}"))
        normalised = self._normalise(came)
        try:
            ping = self._decode(msgspec.json.encode(normalised.members))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._refused(normalised, str(error)) from None
        kept = self._keep(ping, sdk, normalised.unknown, normalised.stripped)
        if kept is None:
            raise self._refused(normalised, "a pattern does not hold")
        return kept

    def _refused(self, normalised: Normalised, otherwise: str) -> Refused:
        faults = explain(normalised.members, self._registry)
        return Refused(next(faults, FieldFault("", Reason.MALFORMED, otherwise)))

    def _are_valid(self, ping: Any, facts: bytes) -> bool:
        """Whether the patterns of names and digests hold, which the types leave to us."""
        seen = hash(facts)
        if seen in self._valid_facts:  # facts repeat from ping to ping
            return True
        names: list[str] = []
        digests: list[str] = []
        for section, name, kind in self._formats:
            holder = getattr(ping, section)
            value = None if holder is None else getattr(holder, name)
            if value is None:
                continue
            if kind is FieldType.NAME:
                names.append(value)
            elif kind is FieldType.DIGEST:
                digests.append(value)
            else:
                names += value
                digests += value.values()
        if not (self._are_names(names) and all(map(_is_digest, digests))):
            return False
        if len(self._valid_facts) >= _REMEMBERED_FACTS:
            self._valid_facts.clear()
        self._valid_facts.add(seen)
        return True

    def _are_names(self, names: Iterable[str]) -> bool:
        if self._valid_names.issuperset(names):  # names repeat from ping to ping
            return True
        if not all(_NAME.match(name) and not name.endswith("\n") for name in names):
            return False
        if len(self._valid_names) < _REMEMBERED_NAMES:
            self._valid_names.update(names)
        return True

    def _canonicalise(self, ping: Any) -> None:
        for section, names in self._nones:
            if (holder := getattr(ping, section)) is not None:
                for name in names:
                    if getattr(holder, name) == NONE:
                        setattr(holder, name, None)
        for section, names in self._lower_case:
            if (holder := getattr(ping, section)) is not None:
                for name in names:
                    if (value := getattr(holder, name)) is not None:
                        setattr(holder, name, value.lower())

    def _keep(self, ping: Any, sdk: object, unknown: int = 0, stripped: int = 0) -> Ping | None:
        """The Ping; None if a name or a digest is not valid."""
        key_digest, ping.license.key_digest = ping.license.key_digest, None
        usage = ping.usage
        counters, used_since = (None, None) if usage is None else (usage.features, usage.since)
        details = self._details.of(ping)
        facts = self._facts.of(ping, sdk)
        if hash(facts) not in self._valid_facts:
            self._canonicalise(ping)
            facts = self._facts.of(ping, sdk)
        environment = _reported(ping.service, "environment")
        # A quick look for steering characters: JSON escapes them, but for DEL and those beyond ASCII.
        if b"\\" in facts or b"\x7f" in facts or not facts.isascii():
            facts, environment = _written_out(facts), written_out(environment)
        if not (
            self._are_valid(ping, facts)
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
            ping.reason,
            used_since and utc(used_since),
            None if details == b"{}" else details.decode(),
            counters,
            unknown,
            stripped,
            ping.license.status,
            _reported(ping.license, "source"),
            environment,
            ping.privacy.level,
            ping.privacy.notice_version,
        )


class _Excerpt:
    """The encoder of some members of each ping, and of `more` values, as one JSON object."""

    def __init__(self, members: list[str], *more: str) -> None:
        self._members = members
        fields = [(name, Any, None) for name in (*members, *more)]
        self._type = msgspec.defstruct("Excerpt", fields, omit_defaults=True, gc=False)
        self._encode = msgspec.json.Encoder().encode

    def of(self, ping: Any, *more: object) -> bytes:
        return self._encode(self._type(*[getattr(ping, name) for name in self._members], *more))


def _written_out(facts: bytes) -> bytes:
    """The JSON object with the steering characters of its texts written out: pages and views show them."""
    document = orjson.loads(facts)
    changed = _texts_written_out(document)
    return facts if changed == document else orjson.dumps(changed)


def _texts_written_out(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _texts_written_out(each) for name, each in value.items()}
    return written_out(value) if isinstance(value, str) else value


def _reported(section: Any, name: str) -> str:
    """A member of a section; "unknown", as in the database, if either is absent."""
    value = None if section is None else getattr(section, name)
    return UNKNOWN if value is None else value


def _by_retention(registry: Registry) -> tuple[list[str], list[str]]:
    """The members of a ping that are facts, and those that are neither facts nor attributes of Ping.

    All fields of a section are of one of these classes.
    """
    attributes: list[str] = []
    facts: list[str] = []
    details: list[str] = []
    for field in registry.of(Carrier.PING):
        member = field.section or field.name
        if field.path in _ATTRIBUTES:
            attributes.append(member)
        elif member not in IDENTITY:
            (facts if field.retention == "fact" else details).append(member)
    if mixed := set(facts) & set(details) | set(attributes) & {*facts, *details}:
        raise ValueError(
            f"fields.toml: facts, details and attributes are mixed in {', '.join(sorted(mixed))}"
        )
    return sorted(set(facts)), sorted(set(details))


def utc(moment: datetime) -> datetime:
    """`moment` in UTC; at the ends of the calendar, where UTC would overflow, its clock time as UTC."""
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return moment.replace(tzinfo=UTC)


def _members_above(registry: Registry, level: Level) -> tuple[str, ...]:
    """The members of a ping that have fields above the level."""
    above = (field for field in registry.of(Carrier.PING) if not level.allows(field.level))
    return tuple(dict.fromkeys(field.section or field.name for field in above))


def _fields_with_formats(registry: Registry, facts: list[str]) -> tuple[tuple[str, str, FieldType], ...]:
    """Section, name and type of the fields with a pattern. They must be facts: only those are remembered."""
    kinds = {FieldType.NAME, FieldType.DIGEST, FieldType.DIGESTS}
    found = tuple((f.section, f.name, f.kind) for f in registry.of(Carrier.PING) if f.kind in kinds)
    if others := {section for section, _, _ in found} - set(facts):
        raise ValueError(f"fields.toml: a name or a digest is not a fact in {', '.join(sorted(others))}")
    return found


def _by_section(
    registry: Registry, facts: list[str], chosen: Callable[[Field], bool]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The names of the `chosen` fields by their section. They must be facts: only those are remembered."""
    named: dict[str, list[str]] = {}
    for field in filter(chosen, registry.of(Carrier.PING)):
        if field.section not in facts:
            raise ValueError(f"fields.toml: {field.path} is changed to its canonical form, and is not a fact")
        named.setdefault(field.section, []).append(field.name)
    return tuple((section, tuple(names)) for section, names in named.items())


def _is_digest(value: Any) -> bool:
    return type(value) is str and len(value) == 64 and _DIGEST.match(value) is not None  # noqa: PLR2004
