"""JSON looked at as bytes: what is not asked for is never built, however much of it there is. Pure."""

import math
import re
from typing import Any

import msgspec
import orjson
from msgspec import Raw

NUL = rb"\u0000"
"""How U+0000 is written in JSON; after a backslash that is escaped it is none."""

_BRACKETS = b"[]{}"
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_ALL_ELSE = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")

members = msgspec.json.Decoder(dict[str, Raw]).decode
"""The members of an object, each as its JSON. Raises msgspec.ValidationError for what is no object."""


def is_deeper_than(levels: int, text: bytes) -> bool:
    """Whether objects and arrays are nested deeper in `text`, which must be JSON.

    Each round takes out the innermost of them all, so that hostile text costs no more rounds than any.
    """
    unescaped = text.replace(rb"\\", b"").replace(rb"\"", b"")
    brackets = b"".join(unescaped.split(b'"')[::2]).translate(_TO_SQUARE, _ALL_ELSE)
    for _ in range(levels):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def has_forbidden_character(text: bytes) -> bool:
    """Whether a string or a name in `text`, which must be JSON, holds U+0000: PostgreSQL cannot keep it."""
    return NUL in text and _ESCAPED_NUL.search(text) is not None


def scalar(value: Raw) -> Any:
    """A string, number, boolean or null; objects and arrays stay as they are.

    A number that is too large to be one is infinite.
    """
    text = bytes(value)
    if text.startswith((b"{", b"[")):
        return value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return math.inf
