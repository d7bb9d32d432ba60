"""Statements of a host as text in a counter file: one `name=value` per line, the time first."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Mapping, Optional, Tuple


def write(at: float, words: Mapping[str, Optional[str]]) -> str:
    """The text; `at` is in seconds since 1970, None is left out, values are single lines."""
    lines = [f"at={at!r}"]
    lines += [f"{name}={value}" for name, value in words.items() if value is not None]
    return "\n".join(lines)


def parse(text: str) -> Tuple[float, Dict[str, str]]:
    """The time, 0.0 if it is damaged, and the words."""
    words = dict(line.split("=", 1) for line in text.split("\n") if "=" in line)
    try:
        return float(words.pop("at", "0")), words
    except ValueError:
        return 0.0, words
