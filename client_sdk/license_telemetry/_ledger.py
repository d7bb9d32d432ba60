"""The content of the outbox: counters, numbered pings, stored uploads, and state.

Every method runs inside a transaction that `_outbox` opened; all SQL is here, the tables are in `_schema`.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from ._counters import LARGEST_COUNT
from ._identity import Identity
from ._levels import MOST_FEATURES, lower
from ._settings import DAY
from ._state import LOSSES, State, read_json

MOST_COUNTERS = 4096
MOST_KEPT = 20
KEPT_SECONDS = 7 * DAY
MOST_RESENT = 3
UPLOAD_PINGS = 100
UPLOAD_CHARACTERS = 900_000  # with the envelope below the protocol's 1 MiB, even without gzip

Json = Dict[str, Any]
Build = Callable[[List[Json]], Tuple[str, bytes, Optional[str]]]


class Limits(NamedTuple):
    """The limits of the queue."""

    pings: int = 500
    characters: int = 10_000_000
    counters: int = MOST_COUNTERS


class Upload(NamedTuple):
    """A stored upload: sent with exactly these bytes until a receipt comes. `pings` are (sequence, ping_id).

    `aside`: a single ping refused without a receipt; it is sent when nothing else waits.
    """

    upload_id: str
    body: bytes
    encoding: Optional[str]
    aside: bool
    pings: List[Tuple[int, str]]


class Ledger(State):
    """One transaction's view of the outbox."""

    def __init__(self, connection: sqlite3.Connection, limits: Limits, beside: Optional[int] = None) -> None:
        super().__init__(connection, beside)
        self._limits = limits

    # ── counters ────────────────────────────────────────────────────────────────────────────

    def count(self, counts: Dict[str, int]) -> None:
        """Adds to the counters of all processes; uses of a name beyond the limit are counted as lost."""
        for name, count in counts.items():
            added = self._db.execute(
                "UPDATE counter SET count = min(count + min(?, ?), ?) WHERE name = ?",
                (count, LARGEST_COUNT, LARGEST_COUNT, name),
            )
            if added.rowcount:
                continue
            if self._number("SELECT count(*) FROM counter") < self._limits.counters:
                self._db.execute(
                    "INSERT INTO counter (name, count) VALUES (?, ?)", (name, min(count, LARGEST_COUNT))
                )
            else:
                self.lose("unsaved", count)

    def usage(self) -> Json:
        """The `usage` section of the next ping: the oldest names, up to the limit of a ping."""
        rows = self._db.execute("SELECT name, count FROM counter ORDER BY rowid LIMIT ?", (MOST_FEATURES,))
        features = dict(rows.fetchall())
        return {"since": self.get("usage_since"), "features": features} if features else {}

    def losses(self) -> Json:
        """The `outbox` section of the next ping."""
        counted = {kind: self.get(kind, 0) for kind in LOSSES}
        return {kind: count for kind, count in counted.items() if count}

    def _take(self, usage: Json, losses: Json, now: str) -> None:
        for name in usage.get("features", ()):
            self._db.execute("DELETE FROM counter WHERE name = ?", (name,))
        if not self._number("SELECT count(*) FROM counter"):
            self.put("usage_since", now)
        for kind in losses:
            self.put(kind, 0)

    # ── pings ───────────────────────────────────────────────────────────────────────────────

    def queue(self, ping: Json) -> int:
        """Gives `ping` the next number, and moves its counts and losses from the counters into it."""
        sequence = self._next()
        self._take(ping.get("usage", {}), ping.get("outbox", {}), ping["occurred_at"])
        self._insert(sequence, ping)
        return sequence

    def _next(self) -> int:
        sequence: int = self.get("next_sequence", 1)
        self.put("next_sequence", sequence + 1)
        return sequence

    def _insert(self, sequence: int, ping: Json) -> None:
        self._db.execute(
            "INSERT INTO ping (sequence, reason, usage, content) VALUES (?, ?, ?, ?)",
            (sequence, ping.get("reason", ""), "usage" in ping, json.dumps(ping, separators=(",", ":"))),
        )

    def queued(self) -> int:
        return self._number("SELECT count(*) FROM ping WHERE acknowledged_at IS NULL")

    def newest(self) -> Optional[str]:
        """The ping_id of the ping queued last."""
        rows = self.rows(
            "SELECT content FROM ping WHERE acknowledged_at IS NULL ORDER BY sequence DESC LIMIT 1"
        )
        return read_json(rows[0][0]).get("ping_id") if rows else None

    def number_of(self, ping_id: str) -> Optional[int]:
        """The number under which a ping was acknowledged; None if no longer known."""
        for sequence, content in self.rows(
            "SELECT sequence, content FROM ping WHERE acknowledged_at IS NOT NULL ORDER BY sequence DESC"
        ):
            if read_json(content).get("ping_id") == ping_id:
                return int(sequence)
        return None

    def make_room(self) -> None:
        """Evicts pings above the limits: first those set aside, then unsent ones with usage, last license
        changes.

        The newest ping always stays. The counts of an unsent ping return to the counters, so that only the
        ping is lost. An upload that may have arrived stays unchanged while any of its pings is left: packed
        again, they would seem unsent.
        """
        count, characters = self._db.execute(
            "SELECT count(*), coalesce(sum(length(content)), 0) FROM ping WHERE acknowledged_at IS NULL"
        ).fetchone()
        while count > 1 and (count > self._limits.pings or characters > self._limits.characters):
            sequence, content, upload_id = self._db.execute(
                "SELECT sequence, content, upload_id FROM ping LEFT JOIN upload USING (upload_id)"
                " WHERE acknowledged_at IS NULL"
                " AND sequence < (SELECT max(sequence) FROM ping WHERE acknowledged_at IS NULL)"
                " ORDER BY aside IS NOT 1, upload_id IS NOT NULL, reason = 'license', usage = 0, sequence"
                " LIMIT 1"
            ).fetchone()
            self._give_up(sequence, content, upload_id)
            count, characters = count - 1, characters - len(content)

    def _give_up(self, sequence: int, content: str, upload_id: Optional[str]) -> None:
        ping = read_json(content)
        self._db.execute("DELETE FROM ping WHERE sequence = ?", (sequence,))
        self.lose("evicted", 1)
        self._report_again(ping)
        if upload_id is not None:
            self._db.execute(
                "DELETE FROM upload WHERE upload_id = ? AND NOT EXISTS"
                " (SELECT 1 FROM ping WHERE ping.upload_id = upload.upload_id)",
                (upload_id,),
            )
        elif "usage" in ping:
            self.count(ping["usage"].get("features", {}))
            self.put("usage_since", ping["usage"].get("since"))

    def _report_again(self, ping: Json) -> None:
        """Returns the losses in a lost ping to the next one."""
        for kind, count in ping.get("outbox", {}).items():
            self.add(kind, count)

    # ── uploads ─────────────────────────────────────────────────────────────────────────────

    def upload(self, build: Build) -> Optional[Upload]:
        """The oldest stored upload, or a new one of the oldest pings; None without pings.

        Uploads set aside come last, in the order of their last attempts.
        """
        first = self._first(aside=False)
        if first is None and self._pack(self._unpacked(), build):
            first = self._first(aside=False)
        return first or self._first(aside=True)

    def _first(self, *, aside: bool) -> Optional[Upload]:
        query = "SELECT upload_id FROM upload WHERE aside = ? ORDER BY position LIMIT 1"
        row = self._db.execute(query, (aside,)).fetchone()
        return self._stored(row[0]) if row else None

    def uploads(self, build: Build) -> List[Upload]:
        """All queued pings as stored uploads."""
        while self._pack(self._unpacked(), build):
            pass
        rows = self._db.execute("SELECT upload_id FROM upload ORDER BY position").fetchall()
        return [self._stored(row[0]) for row in rows]

    def _stored(self, upload_id: str) -> Upload:
        body, encoding, aside = self._db.execute(
            "SELECT body, encoding, aside FROM upload WHERE upload_id = ?", (upload_id,)
        ).fetchone()
        rows = self._db.execute(
            "SELECT sequence, content FROM ping WHERE upload_id = ? AND acknowledged_at IS NULL"
            " ORDER BY sequence",
            (upload_id,),
        )
        pings = [(sequence, read_json(content).get("ping_id", "")) for sequence, content in rows]
        return Upload(upload_id, bytes(body), encoding, bool(aside), pings)

    def _unpacked(self) -> List[int]:
        """The oldest pings in no upload yet, up to the limit of an upload."""
        rows = self._db.execute(
            "SELECT sequence, length(content) FROM ping WHERE acknowledged_at IS NULL AND upload_id IS NULL"
            " ORDER BY sequence LIMIT ?",
            (UPLOAD_PINGS,),
        ).fetchall()
        taken: List[int] = []
        characters = 0
        for sequence, length in rows:
            characters += length
            if taken and characters > UPLOAD_CHARACTERS:
                break
            taken.append(sequence)
        return taken

    def _pack(self, sequences: List[int], build: Build) -> bool:
        """Stores an upload of these pings; False if none of them is left. Unreadable pings are lost."""
        pings, packed = [], []
        for sequence in sequences:
            (content,) = self._db.execute(
                "SELECT content FROM ping WHERE sequence = ?", (sequence,)
            ).fetchone()
            ping = read_json(content)
            if ping:
                pings.append({"ping_id": ping.pop("ping_id", None), "sequence": sequence, **ping})
                packed.append(sequence)
            else:
                self._db.execute("DELETE FROM ping WHERE sequence = ?", (sequence,))
                self.lose("evicted", 1)
        if not pings:
            return False
        upload_id, body, encoding = build(pings)
        self._db.execute(
            "INSERT INTO upload (upload_id, body, encoding) VALUES (?, ?, ?)",
            (upload_id, sqlite3.Binary(body), encoding),
        )
        self._each("UPDATE ping SET upload_id = ? WHERE sequence = ?", ((upload_id, s) for s in packed))
        return True

    def holds(self, upload_id: str) -> bool:
        """Whether this upload still waits for its answer."""
        query = "SELECT count(*) FROM upload WHERE upload_id = ?"
        return bool(self._db.execute(query, (upload_id,)).fetchone()[0])

    def unpack(self, upload_id: str) -> None:
        """Deletes the bytes of an upload; its queued pings will be packed again."""
        self._db.execute("DELETE FROM upload WHERE upload_id = ?", (upload_id,))
        self._db.execute("UPDATE ping SET upload_id = NULL WHERE upload_id = ?", (upload_id,))

    def split(self, upload: Upload, build: Build) -> bool:
        """Replaces an upload by two halves; False for a single ping."""
        sequences = [sequence for sequence, _ in upload.pings]
        if len(sequences) < 2:  # noqa: PLR2004  two halves
            return False
        half = len(sequences) // 2
        self.unpack(upload.upload_id)
        self._pack(sequences[:half], build)
        self._pack(sequences[half:], build)
        return True

    def set_aside(self, upload_id: str) -> None:
        """Lets everything else be sent before this upload."""
        self._db.execute(
            "UPDATE upload SET aside = 1, position = (SELECT max(position) + 1 FROM upload)"
            " WHERE upload_id = ?",
            (upload_id,),
        )

    def all_is_aside(self) -> bool:
        """Whether only uploads set aside are waiting."""
        return not self._number(
            "SELECT count(*) FROM ping LEFT JOIN upload USING (upload_id)"
            " WHERE acknowledged_at IS NULL AND aside IS NOT 1"
        )

    # ── what became of them ─────────────────────────────────────────────────────────────────

    def settle(self, sequence: int, status: Optional[str], now: float) -> None:
        """Follows the server's word on a ping; without one it stays queued."""
        if status is None:
            return
        if status in ("accepted", "duplicate"):
            self.keep(sequence, now)
        elif status == "forked":
            self.put("reenrol", "forked")
        elif status == "rejected":
            self.refuse(sequence)
        else:  # quarantined, or a status of a newer server: it has the ping, under its receipt
            self.drop(sequence)

    def keep(self, sequence: int, now: float) -> None:
        """Marks a ping as acknowledged; it is kept a while, in case the server is restored from a backup."""
        self._db.execute(
            "UPDATE ping SET acknowledged_at = ?, upload_id = NULL WHERE sequence = ?", (now, sequence)
        )
        self.put("last_acknowledged", [sequence, now])

    def drop(self, sequence: int) -> None:
        self._db.execute("DELETE FROM ping WHERE sequence = ?", (sequence,))

    def refuse(self, sequence: int) -> None:
        """Drops a refused ping, and counts it."""
        row = self._db.execute("SELECT content FROM ping WHERE sequence = ?", (sequence,)).fetchone()
        if row is not None:
            self._report_again(read_json(row[0]))
            self.drop(sequence)
            self.lose("refused", 1)

    def resend(self, missing: Iterable[Tuple[int, int]]) -> None:
        """Queues the numbers that the server misses, each range [from, to), if they are still here."""
        kept = self.rows("SELECT sequence FROM ping WHERE acknowledged_at IS NOT NULL")
        ranges = list(missing)
        wanted = [row for row in kept if any(first <= row[0] < end for first, end in ranges)]
        self._each(
            "UPDATE ping SET acknowledged_at = NULL, resent = resent + 1 WHERE sequence = ? AND resent < ?",
            ((sequence, MOST_RESENT) for (sequence,) in wanted),
        )

    def prune(self, now: float) -> None:
        """Deletes pings acknowledged a week ago, and all but the newest twenty."""
        self._db.execute("DELETE FROM ping WHERE acknowledged_at < ?", (now - KEPT_SECONDS,))
        self._db.execute(
            "DELETE FROM ping WHERE acknowledged_at IS NOT NULL AND sequence NOT IN"
            " (SELECT sequence FROM ping WHERE acknowledged_at IS NOT NULL ORDER BY sequence DESC LIMIT ?)",
            (MOST_KEPT,),
        )

    def adopt(self, identity: Identity) -> None:
        """Continues under a new identity: queued pings are numbered from 1, sent ones are deleted."""
        before = self.identity()
        self.put("identity", identity._asdict())
        self.put("reenrol", None)
        if before is None or before.installation_id == identity.installation_id:
            return
        self.put("parent", before.installation_id)
        self.put("last_acknowledged", None)
        self._number_anew()

    def _number_anew(self) -> None:
        """Numbers the queued pings from 1 on, and deletes all others."""
        self._db.execute("DELETE FROM ping WHERE acknowledged_at IS NOT NULL")
        self._db.execute("DELETE FROM upload")
        self._db.execute("UPDATE ping SET upload_id = NULL, resent = 0")
        rows = self._db.execute("SELECT sequence FROM ping ORDER BY sequence").fetchall()
        self._each(
            "UPDATE ping SET sequence = ? WHERE sequence = ?", ((n, row[0]) for n, row in enumerate(rows, 1))
        )
        self.put("next_sequence", len(rows) + 1)

    def absorb(self, other: Ledger) -> None:
        """Takes over the content of another outbox, one in memory."""
        fresh = self.get("next_sequence", 1) == 1
        if fresh:
            self._each(
                "INSERT OR REPLACE INTO state (name, value) VALUES (?, ?)",
                other.rows("SELECT name, value FROM state WHERE name != 'outbox_id'"),
            )
        waiting = "SELECT sequence, content FROM ping WHERE acknowledged_at IS NULL ORDER BY sequence"
        for sequence, content in other.rows(waiting):
            self._insert(sequence if fresh else self._next(), read_json(content))
        self.count(dict(other.rows("SELECT name, count FROM counter")))
        if not fresh:
            for kind in LOSSES:
                self.lose(kind, other.get(kind, 0))

    def withdraw(self, level: str) -> None:
        """Removes everything above `level`: drops counts, and lowers queued pings for good.

        They keep their numbers and ids, so that one that had arrived is a duplicate.
        """
        if level != "usage":
            self._db.execute("DELETE FROM counter")
        for sequence, content in self.rows(
            "SELECT sequence, content FROM ping WHERE acknowledged_at IS NULL"
        ):
            lowered = lower(read_json(content), level)
            self._db.execute(
                "UPDATE ping SET content = ?, usage = ? WHERE sequence = ?",
                (json.dumps(lowered, separators=(",", ":")), "usage" in lowered, sequence),
            )
        self._db.execute("DELETE FROM upload")
        self._db.execute("UPDATE ping SET upload_id = NULL")
        self._db.execute("DELETE FROM ping WHERE acknowledged_at IS NOT NULL")

    def clear(self) -> None:
        """Deletes everything queued."""
        self._db.execute("DELETE FROM ping")
        self._db.execute("DELETE FROM upload")
        self._db.execute("DELETE FROM counter")

    def leave_identity(self) -> None:
        """Removes the identity, after the server has erased the installation.

        Pings queued since, under renewed consent, are for the next one.
        """
        self._number_anew()
        for name in ("identity", "parent", "last_acknowledged", "reenrol", "machines"):
            self._db.execute("DELETE FROM state WHERE name = ?", (name,))
