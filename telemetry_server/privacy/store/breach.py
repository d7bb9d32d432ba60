"""What the audit log says of a breach: who saw, exported or changed what in a window of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Window:
    """From when until when, and by whom: persons by e-mail, tokens by id; none of both: by anyone.

    `keys`: support keys that are exposed.
    """

    since: datetime
    until: datetime
    persons: tuple[str, ...] = ()
    tokens: tuple[UUID, ...] = ()
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The entries of the window, the sealed grants of the keys, and the number of all subjects."""

    entries: Sequence[Mapping[str, Any]]
    grants: Sequence[Mapping[str, Any]]
    totals: Mapping[str, int]
    owners: Mapping[str, str]


async def seen(connection: Connection, window: Window) -> Seen:
    """What was seen in the window."""
    async with connection.transaction():
        rows = []
        if window.persons or window.tokens or not window.keys:
            values = window.since, window.until, _actors(window)
            rows = await connection.fetch(SQL["entries"], *values, timeout=_SECONDS)
        entries = [{**row, "details": orjson.loads(row["details"])} for row in rows]
        grants = await connection.fetch(SQL["grants"], list(window.keys), window.since, window.until)
        licenses = [each["subject_id"] for each in entries if each["subject_kind"] == "license"]
        owners = await connection.fetch(SQL["owners"], [one for one in licenses if one])
        totals = dict(await connection.fetchrow(SQL["totals"]))
    return Seen(entries=entries, grants=[dict(row) for row in grants], totals=totals, owners=dict(owners))


def _actors(window: Window) -> list[str] | None:
    """What names these actors in the audit log; None: any."""
    named = [f"person:{one} " if "@" in one else one for one in window.persons]
    return [*named, *(f"token {one}" for one in window.tokens)] or None
