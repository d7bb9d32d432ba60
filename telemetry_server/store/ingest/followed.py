"""The newest pings of installations that someone follows on the page "Live", as they were sent."""

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from telemetry_server.check.fields import Level, Registry
from telemetry_server.check.levels import Allowed, kept_level
from telemetry_server.check.sent import told_apart
from telemetry_server.model import Arrival, Ping, Status
from telemetry_server.store.database import Connection, Pool, translated
from telemetry_server.store.queries import load
from telemetry_server.store.reading import read_rows
from telemetry_server.text import written_out

SQL = load(__name__)

FOLLOWED_FOR = timedelta(minutes=2)
_MOST_WAITING = 50
_LARGEST_BODY = 64 * 1024  # of uploads that are kept
_PINGS_OF_AN_UPLOAD = 20  # the newest; as many are stored for each installation


class FollowedPings:
    """Keeps uploads of followed installations in memory; a chore writes them, and reads whom people follow.

    An upload of any other installation costs one look into a set, which is empty while no one follows.
    `allowed`: the limits of what is kept, which hold here, too.
    """

    def __init__(self, registry: Registry, allowed: Allowed = lambda *_: Level.USAGE) -> None:
        self._registry = registry
        self._allowed = allowed
        self._followed: frozenset[UUID] = frozenset()
        self._waiting: deque[Arrival] = deque(maxlen=_MOST_WAITING)

    def keep(self, arrival: Arrival) -> None:
        """The step after the commit; it does nothing that could fail, as the pings are stored."""
        if arrival.known_sender.installation_id in self._followed and len(arrival.body) <= _LARGEST_BODY:
            self._waiting.append(arrival)

    async def exchange(self, connection: Connection) -> None:
        """Writes the kept pings, and reads whom people follow now; removes whom they no longer do."""
        while self._waiting:
            arrival = self._waiting.popleft()
            pings = msgspec.json.encode(_shown(arrival, self._registry, self._allowed)).decode()
            sender = arrival.known_sender.installation_id
            await connection.execute(SQL["add_followed_pings"], sender, pings)
        now = datetime.now(UTC)
        rows = await connection.fetch(SQL["followed_installations"])
        self._followed = frozenset(row["installation_id"] for row in rows if row["followed_until"] > now)
        if len(self._followed) < len(rows):
            await connection.execute(SQL["forget_followed"], now)


async def follow(pool: Pool, installation_id: UUID, now: datetime) -> None:
    """Follows the installation for FOLLOWED_FOR from now."""
    async with translated():
        await pool.execute(SQL["follow"], installation_id, now + FOLLOWED_FOR)


async def followed_pings(pool: Pool, installation_id: UUID) -> list[dict[str, Any]]:
    """The newest pings since it is followed, the newest first.

    Each: received_at, sequence, ping_id, status, detail, kept and dropped (pairs of path and reason).
    """
    rows = await read_rows(pool, SQL["followed_pings"], installation_id)
    return [ping for row in rows for ping in msgspec.json.decode(row["pings"])]


def _shown(arrival: Arrival, registry: Registry, allowed: Allowed) -> list[dict[str, Any]]:
    """The newest pings of an upload, as `followed_pings` gives them."""
    sent, found = _members(arrival.body), list[dict[str, Any]]()
    for item in reversed(arrival.items[-_PINGS_OF_AN_UPLOAD:]):
        if isinstance(item, Ping):
            most = kept_level(item, arrival.known_sender.installation_id, allowed)
            kept, dropped = told_apart(sent.get(str(item.ping_id), {}), registry, most)
        else:
            kept, dropped = {}, ()
        outcome = arrival.written.others.get(item.sequence or 0, Status.ACCEPTED)
        found.append(
            {
                "received_at": arrival.received_at,
                "sequence": item.sequence,
                "ping_id": item.ping_id and written_out(str(item.ping_id)[:80]),
                "status": outcome if isinstance(item, Ping) else Status.REJECTED,
                "detail": "" if isinstance(item, Ping) else written_out(item.detail[:300]),
                "kept": kept,
                "dropped": dropped,
            }
        )
    return found


def _members(body: bytes) -> dict[str, dict[str, Any]]:
    """The pings of an upload by id."""
    pings = msgspec.json.decode(body)["pings"]
    return {str(ping.get("ping_id")).lower(): ping for ping in pings if isinstance(ping, dict)}
