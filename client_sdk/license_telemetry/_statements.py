"""What a host says, as text in a counter file: one `name=value` a line, beginning with the time."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Mapping, Optional, Tuple


def write(at: float, words: Mapping[str, Optional[str]]) -> str:
    """`at` in seconds since 1970; what is None is left out, and values are single lines."""
    lines = [f"at={at!r}"]
    lines += [f"{name}={value}" for name, value in words.items() if value is not None]
    return "\n".join(lines)


def parse(text: str) -> Tuple[float, Dict[str, str]]:
    """The time, 0.0 where it is spoiled, and the words."""
    words = dict(line.split("=", 1) for line in text.split("\n") if "=" in line)
    try:
        return float(words.pop("at", "0")), words
    except ValueError:
        return 0.0, words
