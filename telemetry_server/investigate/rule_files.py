"""Reads the files of rules: those of this package, and those of the operator's directory."""

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from telemetry_server.investigate.rules import Rule, RuleStatus, WrongRule, parse_rule

_SHIPPED = "telemetry_server.investigate"


@cache
def shipped_rules() -> tuple[Rule, ...]:
    """The rules of this package, by name."""
    return tuple(_rules(resources.files(_SHIPPED).joinpath("rules")))


def all_rules(own: Path | None) -> tuple[Rule, ...]:
    """The rules that run: those of this package, and those in the directory `own`. Raises WrongRule.

    Own rules without a guilty and an innocent story are experimental.
    """
    found = {rule.name: rule for rule in shipped_rules()}
    for rule in _rules(own) if own else ():
        if rule.name in found:
            raise WrongRule(f"There is a rule {rule.name} already: rename the file in {own}.")
        found[rule.name] = rule
    return tuple(rule for rule in found.values() if rule.status is not RuleStatus.DEPRECATED)


def stories(directory: Traversable, name: str) -> list[dict[str, Any]]:
    """The stories beside a rule; none without their file. Raises WrongRule."""
    text = _text(directory.joinpath(f"{name}.stories.toml"))
    if text is None:
        return []
    try:
        found = tomllib.loads(text)["story"]
        return [{"guilty": list(map(str, each["guilty"])), **each} for each in found]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise WrongRule(f"The stories of the rule {name}: {error}.") from None


def has_both_stories(found: list[dict[str, Any]]) -> bool:
    """Whether one story is guilty, and one innocent."""
    return {bool(each["guilty"]) for each in found} == {True, False}


def _rules(directory: Traversable) -> Iterator[Rule]:
    try:
        files = sorted(directory.iterdir(), key=lambda file: file.name)
    except OSError as error:
        raise WrongRule(f"The directory of rules {directory} cannot be read: {error.strerror}.") from None
    for file in files:
        if file.name.endswith(".sql") and (text := _text(file)) is not None:
            name = file.name.removesuffix(".sql")
            is_tried = has_both_stories(stories(directory, name))
            yield parse_rule(name, text, is_experimental=not is_tried)


def _text(file: Traversable) -> str | None:
    """What is in a file; None where it is no regular one: reading a FIFO may not end. Raises WrongRule."""
    try:
        return file.read_text("utf-8") if file.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongRule(f"The file {file} cannot be read: {error}.") from None
