"""Rows as one JSON parameter: for the driver a fraction of the cost of one array per column."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson


def as_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """An array of objects for jsonb_to_recordset; bytes in PostgreSQL's hex format."""
    return orjson.dumps(list(rows), default=_plain, option=orjson.OPT_UTC_Z).decode()


def _plain(value: object) -> str:
    """The driver has its own classes of UUIDs and addresses, which orjson does not know."""
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)
