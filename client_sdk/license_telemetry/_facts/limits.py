"""The field registry's limits for values from files of other programs."""

from __future__ import annotations

NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")


def name(value: str | None) -> str | None:
    """`value` made to fit `^[a-z0-9][a-z0-9._-]{0,63}$`, or None when nothing of it does."""
    kept = (character if character in NAME_CHARACTERS else "-" for character in (value or "").strip().lower())
    return "".join(kept).lstrip("._-")[:64] or None


def string(value: str | None, limit: int = 64) -> str | None:
    """`value` in printable characters, at most `limit` of them, or None when nothing is left."""
    printable = "".join(character if character.isprintable() else " " for character in value or "")
    return " ".join(printable.split())[:limit].rstrip() or None
