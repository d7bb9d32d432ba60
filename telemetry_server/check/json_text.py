"""JSON examined as bytes: members that are not needed are never built, however large they are. Pure."""

import math
import re
from typing import Any

import msgspec
import orjson
from msgspec import Raw

NUL = rb"\u0000"
"""U+0000 as JSON writes it; after an escaped backslash it is plain text."""

_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_ALL_ELSE = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")

members = msgspec.json.Decoder(dict[str, Raw]).decode
"""The members of an object, each as its JSON. Raises msgspec.ValidationError for any other value."""


def is_deeper_than(levels: int, text: bytes) -> bool:
    """Whether objects and arrays in `text`, which must be JSON, are nested deeper than `levels`.

    Each round removes the innermost pairs, so hostile text takes no more than `levels` rounds.
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
    """The string, number, boolean or null; objects and arrays stay Raw, an overlong number is infinite."""
    text = bytes(value)
    if text.startswith((b"{", b"[")):
        return value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return math.inf
