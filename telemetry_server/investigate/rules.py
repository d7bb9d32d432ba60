"""A rule: a question to the fleet whose answers are leads. Pure.

A rule is a file: a TOML block in a comment, which says what the rule means, and one SELECT with named
parameters. Its rows have the columns subject_id, first_seen, last_seen, strength (0 to 1) and evidence (an
object; `installations` in it are the ids of those it rests on, `unscored` is why it must not count).

    /*---
    id = "…"                      # a UUID, never changed
    title = "…"
    status = "stable"             # experimental, stable or deprecated
    means = "…"
    does_not_mean = "…"
    falsepositives = ["…"]        # at least one
    closes = "…"                  # why a finding was closed, as people read it
    family = "key"                # rules of a family see the same facts, and share one likelihood ratio
    subject = "license"           # installation, key, license or network
    cadence = "hour"              # hour or day
    window = 90                   # days that it looks back
    [parameters.days]
    type = "integer"              # or "number"
    default = 7
    least = 1
    most = 365
    ---*/
    SELECT …

Each rule also has the parameters :product, :now, :begin (of the window), :since (a subject may be left out if
none of its copies reported since then), :free (environments) and :allowed (networks that never count).
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeAlias
from uuid import UUID

from telemetry_server.errors import OperatorError

FAMILIES = ("key", "copy", "claim", "build", "place", "time")
FREE_ENVIRONMENTS = ("development", "staging")
LONGEST_WINDOW = 400
"""In days."""
MOST_INSTALLATIONS = 500
"""The number of installations that the evidence of a finding names at most."""

_PARTS = re.compile(r"\s*/\*---\n(.*?)---\*/\s*(.*?);?\s*", re.DOTALL)
_PLACEHOLDER = re.compile(r"(?<![:\w]):(?!:)([a-z_]+)\b")
_QUIET = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TYPES: Mapping[str, tuple[type, ...]] = {"integer": (int,), "number": (int, float)}
_TEXTS = ("id", "title", "status", "means", "does_not_mean", "closes", "family", "subject", "cadence")

Network: TypeAlias = IPv4Network | IPv6Network


class WrongRule(OperatorError):
    """The file is not a rule."""


class RuleStatus(StrEnum):
    """Whether a rule counts: only a stable one does; a deprecated one no longer runs."""

    EXPERIMENTAL = "experimental"
    STABLE = "stable"
    DEPRECATED = "deprecated"


class SubjectKind(StrEnum):
    """What a finding is about."""

    INSTALLATION = "installation"
    KEY = "key"
    LICENSE = "license"
    NETWORK = "network"


class Cadence(StrEnum):
    """How often a rule runs."""

    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A number that a rule is bound to, and its bounds."""

    type: str
    default: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule. `statement` has numbered placeholders, whose names are in `placeholders` in their order."""

    name: str
    id: UUID
    title: str
    status: RuleStatus
    means: str
    does_not_mean: str
    falsepositives: Sequence[str]
    closes: str
    family: str
    subject: SubjectKind
    cadence: Cadence
    window: timedelta
    parameters: Mapping[str, Parameter]
    sql: str
    statement: str
    placeholders: Sequence[str]

    @property
    def counts(self) -> bool:
        return self.status is RuleStatus.STABLE

    @property
    def defaults(self) -> dict[str, float]:
        return {name: parameter.default for name, parameter in self.parameters.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a rule is asked about. `since` is the beginning of time in a full run."""

    product_id: UUID
    now: datetime
    since: datetime
    allowed: Sequence[Network] = ()


def parse_rule(name: str, text: str, *, is_experimental: bool = False) -> Rule:
    """The rule in a file of that name, without its ending. Raises WrongRule.

    `is_experimental`: it counts for nothing.
    """
    if not _NAME.fullmatch(name):
        raise WrongRule(f"The rule {name} needs a name of lower-case letters, digits and underscores.")
    found = _PARTS.fullmatch(text)
    if found is None:
        raise WrongRule(f"The rule {name} does not begin with a TOML block between /*--- and ---*/.")
    try:
        head = tomllib.loads(found[1])
        rule = _checked(name, head, found[2].strip())
    except (tomllib.TOMLDecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WrongRule(f"The rule {name}: {error}.") from None
    if not is_experimental:
        return rule
    return replace(rule, status=RuleStatus.EXPERIMENTAL)


def arguments(rule: Rule, asked: Asked, given: Mapping[str, float] | None = None) -> list[Any]:
    """The values of the placeholders. `given` replaces defaults. Raises WrongRule."""
    values: dict[str, Any] = {
        **bound(rule, given or {}),
        "product": asked.product_id,
        "now": asked.now,
        "since": asked.since,
        "begin": asked.now - rule.window,
        "free": list(FREE_ENVIRONMENTS),
        "allowed": list(asked.allowed),
    }
    return [values[name] for name in rule.placeholders]


def bound(rule: Rule, given: Mapping[str, float]) -> dict[str, float]:
    """The parameters of the rule, with those that are given. Raises WrongRule."""
    values = rule.defaults
    for name, value in given.items():
        if name not in rule.parameters:
            raise WrongRule(f"The rule {rule.name} has no parameter {name}.")
        _demand_within(name, rule.parameters[name], value)
        values[name] = value
    return values


def _checked(name: str, head: Mapping[str, Any], sql: str) -> Rule:
    for text in _TEXTS:
        if not isinstance(head.get(text), str) or not head[text].strip():
            raise ValueError(f'"{text}" is missing')
    if head["family"] not in FAMILIES:
        raise ValueError(f'the family "{head["family"]}" is none of {", ".join(FAMILIES)}')
    excuses = head.get("falsepositives")
    if not isinstance(excuses, list) or not excuses or not all(isinstance(each, str) for each in excuses):
        raise ValueError('"falsepositives" names at least one')
    if not isinstance(head.get("window"), int) or not 1 <= head["window"] <= LONGEST_WINDOW:
        raise ValueError(f'"window" is a number of days from 1 to {LONGEST_WINDOW}')
    parameters = {each: _parameter(each, given) for each, given in head.get("parameters", {}).items()}
    known = (*parameters, "product", "now", "since", "begin", "free", "allowed")
    statement, placeholders = _numbered(sql, known)
    return Rule(
        name=name,
        id=UUID(head["id"]),
        status=RuleStatus(head["status"]),
        falsepositives=tuple(excuses),
        subject=SubjectKind(head["subject"]),
        cadence=Cadence(head["cadence"]),
        window=timedelta(days=head["window"]),
        parameters=parameters,
        sql=sql,
        statement=statement,
        placeholders=placeholders,
        **{text: head[text] for text in ("title", "means", "does_not_mean", "closes", "family")},
    )


def _parameter(name: str, given: Mapping[str, Any]) -> Parameter:
    parameter = Parameter(**given)
    if parameter.type not in _TYPES:
        raise ValueError(f'the parameter {name} is neither an "integer" nor a "number"')
    for value in (parameter.least, parameter.most, parameter.default):
        _demand_within(name, parameter, value)
    return parameter


def _demand_within(name: str, parameter: Parameter, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, _TYPES[parameter.type]):
        raise WrongRule(f"The parameter {name} is not of the type {parameter.type}.")
    if not parameter.least <= value <= parameter.most:
        raise WrongRule(f"The parameter {name} is {value}, not from {parameter.least} to {parameter.most}.")


def _numbered(sql: str, known: Iterable[str]) -> tuple[str, list[str]]:
    """The statement with $1, $2 … for its placeholders, and their names. Raises ValueError."""
    bare = _QUIET.sub(" ", sql)
    if not re.match(r"(SELECT|WITH)\b", bare.lstrip()) or ";" in bare:
        raise ValueError("it is not one SELECT")
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        if (name := match[1]) not in known:
            raise ValueError(f"it has no parameter {name}")
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    ends = [*(found.span() for found in _QUIET.finditer(sql)), (len(sql), len(sql))]
    parts, at = [], 0
    for start, end in ends:  # what is quoted or a comment stays as it is
        parts += [_PLACEHOLDER.sub(numbered, sql[at:start]), sql[start:end]]
        at = end
    return "".join(parts), names
