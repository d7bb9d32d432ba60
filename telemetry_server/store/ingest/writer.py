"""The group writer: what is acknowledged is committed, and counts exactly once.

While one group is being written the next one gathers: no timer, no fixed size. Each caller waits for
its own upload and learns its own fate. PostgreSQL commits before anybody is told. A ping that
PostgreSQL refuses is found by halving the group and goes to quarantine; all others are committed.
When PostgreSQL is away, or more waits than memory allows, the caller gets Unavailable: the outbox of
the sender is the buffer, not this process.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Self, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from telemetry_server.errors import Unavailable
from telemetry_server.logs import Severity, log, log_rationed
from telemetry_server.model import ALL_ACCEPTED, Ping, SignedUpload, Status, Written
from telemetry_server.store.database import AWAY
from telemetry_server.store.ingest.group_rows import as_json, ping_row, upload_row
from telemetry_server.store.ingest.last_write import LastWrite
from telemetry_server.store.ingest.projection import note_news
from telemetry_server.store.ingest.written_states import WrittenStates
from telemetry_server.store.queries import load
from telemetry_server.store.ranges import Ranges, holes, multirange, ranges

SQL = load(__name__)

MOST_PINGS_IN_A_GROUP = 500
MOST_HOLES = 64
TOLD_AT_ONCE = 16
WORTH_ANOTHER_LANE = 64
WRITE_TIMEOUT_SECONDS = 10
NOTE_TIMEOUT_SECONDS = 3
LONGEST_WAIT_SECONDS = 60  # the roll-ups count on pings that are committed minutes after they came
_REPORT_SECONDS = 5
TRY_AGAIN_SECONDS = 5
_POISON = {"22", "23", "54"}  # SQLSTATE classes that blame the data, and would blame it again

Connect: TypeAlias = Callable[[], Awaitable[asyncpg.Connection]]


class _Waiting(msgspec.Struct, gc=False):
    upload: SignedUpload
    size: int
    fate: asyncio.Future[Written]
    since: float


class GroupWriter:
    """Writes uploads in groups over `lanes` connections of its own.

    `connect` opens a connection; `most_bytes` bounds what may wait. Use as an async context manager:
    leaving it writes what waits, then closes the connections.
    """

    def __init__(self, connect: Connect, *, lanes: int = 1, most_bytes: int = 64 * 2**20) -> None:
        self._connect = connect
        self._lanes = lanes
        self._most_bytes = most_bytes
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._pings = 0  # in the queue
        self._busy = 0  # lanes
        self._arrived = asyncio.Event()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._states = WrittenStates()
        self._last = LastWrite()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._lane(), name=f"writer {n}") for n in range(self._lanes)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._arrived.set()
        await asyncio.gather(*self._tasks)

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    @property
    def problem(self) -> str | None:
        """Why pings cannot be written, by the last group; None while they can."""
        return self._last.problem

    async def write(self, upload: SignedUpload, size: int) -> Written:
        """Commits the new pings of `upload` and tells what became of all of them.

        `size` is what it takes of memory, in bytes. Raises Unavailable when nothing was kept, or when
        nobody can know whether it was: the same upload may then be written again without harm.
        """
        if self._closing or self._bytes + size > self._most_bytes:
            raise Unavailable("The server holds all the pings it can.")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(upload, size, loop.create_future(), loop.time())
        self._bytes += size
        self._pings += len(upload.pings)
        self._queue.append(waiting)
        self._arrived.set()
        try:
            return await waiting.fate
        finally:
            self._bytes -= size

    # ── gathering ───────────────────────────────────────────────────────────────────────────

    async def _lane(self) -> None:
        writing = _Lane(self._connect, self._states, self._last)
        while await self._enough_waits():
            self._busy += 1
            await asyncio.sleep(0)  # whoever is ready to join the group does so now: fewer, larger commits
            if group := self._gather():
                await writing.write(group)
            elif self._last.upload:
                await writing.try_again(self._last.upload)
            self._busy -= 1
        await writing.close()

    async def _enough_waits(self) -> bool:
        """Waits until there is a group for one more lane; False when the writer closes and nothing waits.

        Beside a lane that writes, another one begins only with many pings: few are cheaper in its next group.
        While pings cannot be written, an idle lane is also given the turn to try again.
        """
        while not self._queue or (self._busy and self._pings < WORTH_ANOTHER_LANE and not self._closing):
            if self._closing:
                return False
            self._arrived.clear()
            try:
                async with asyncio.timeout(TRY_AGAIN_SECONDS if self._last.problem else None):
                    await self._arrived.wait()
            except TimeoutError:
                if not self._busy:
                    return True
        return True

    def _gather(self) -> list[_Waiting]:
        """What waits, at most one upload of each installation, and so many pings at most."""
        group, later, pings = [], [], 0
        seen: set[UUID] = set()
        now = asyncio.get_running_loop().time()
        while self._queue and pings < MOST_PINGS_IN_A_GROUP:
            waiting = self._queue.popleft()
            if waiting.upload.installation_id in seen:
                later.append(waiting)
                continue
            self._pings -= len(waiting.upload.pings)
            if waiting.fate.cancelled():
                continue
            if now - waiting.since > LONGEST_WAIT_SECONDS:
                waiting.fate.set_exception(Unavailable("PostgreSQL is too slow to take the pings."))
                continue
            seen.add(waiting.upload.installation_id)
            group.append(waiting)
            pings += len(waiting.upload.pings)
        self._queue.extendleft(reversed(later))
        return group


class _Lane:
    """One connection and what is written over it."""

    def __init__(self, connect: Connect, states: WrittenStates, last: LastWrite) -> None:
        self._connect = connect
        self._states = states
        self._last = last
        self._report_at, self._failed_pings = 0.0, 0
        self._news: set[UUID] = set()
        self._connection: asyncpg.Connection | None = None
        self._telling: asyncio.Task[None] | None = None

    async def write(self, group: list[_Waiting]) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                written = await self._write_group([waiting.upload for waiting in group])
        except Exception as error:  # noqa: BLE001  whatever went wrong, every caller must be told
            await self._give_up(group, error)
            return
        self._last.good()
        if self._news:
            await self._note_news()
        if self._telling is not None:
            await self._telling
        self._telling = asyncio.create_task(_tell(group, written))

    async def close(self) -> None:
        if self._telling is not None:
            await self._telling
        if self._connection is not None:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await self._connection.close(timeout=2)

    async def _give_up(self, group: list[_Waiting], error: Exception) -> None:
        """Nothing is acknowledged; the connection may be in any state, so it goes too."""
        self._hang_up()
        self._last.failed(error, group[0].upload)
        for waiting in group:
            if not waiting.fate.done():
                waiting.fate.set_exception(Unavailable("PostgreSQL did not confirm the pings."))
        self._report(error, _count(group))

    async def try_again(self, upload: SignedUpload) -> None:
        """Finds out whether pings can be written by now: writes an upload that failed, and takes it back.

        The pings themselves are sent again, and count from when they then come. The commit needs the disk.
        """
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                connection = await self._connected()
                async with connection.transaction():
                    attempt = connection.transaction()
                    await attempt.start()
                    await connection.fetch(SQL["write_group"], *self._parameters([upload]))
                    await attempt.rollback()
        except Exception as error:  # noqa: BLE001  as in `write`
            self._hang_up()
            if (getattr(error, "sqlstate", None) or "")[:2] not in _POISON:
                self._last.failed(error, upload)
                return
        self._last.good()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return self._connection

    def _report(self, error: Exception, pings: int) -> None:
        """One line every few seconds: while PostgreSQL is away, every group fails."""
        now = time.monotonic()
        self._failed_pings += pings
        if now >= self._report_at:
            log(
                "pings not written",
                Severity.ERROR,
                error=f"{type(error).__name__}: {error}",
                pings=self._failed_pings,
            )
            self._report_at, self._failed_pings = now + _REPORT_SECONDS, 0

    async def _write_group(self, uploads: Sequence[SignedUpload], *, again: bool = True) -> list[Written]:
        """Writes; where PostgreSQL blames the data, halves until the ping to blame stands alone."""
        connection = await self._connected()
        try:
            rows = await connection.fetch(SQL["write_group"], *self._parameters(uploads))
        except asyncpg.PostgresError as error:
            if (error.sqlstate or "")[:2] not in _POISON:
                raise
            return await self._halve(uploads, error, again=again)
        if news := {row["installation_id"] for row in rows if row["sequence"] is row["received"] is None}:
            self._news |= news
            rows = [row for row in rows if row["sequence"] is not None or row["received"] is not None]
        if not rows:
            self._states.remember(uploads)
            return [ALL_ACCEPTED] * len(uploads)
        return await self._tell_apart(uploads, rows)

    async def _note_news(self) -> None:
        """The pings are committed: what goes wrong here costs no ping, and the job "catch up" mends it."""
        assert self._connection is not None
        try:
            async with asyncio.timeout(NOTE_TIMEOUT_SECONDS):
                await note_news(self._connection, sorted(self._news))
        except (*AWAY, asyncpg.PostgresError) as error:
            log("news not noted", Severity.ERROR, error=f"{type(error).__name__}: {error}"[:500])
            if not isinstance(error, asyncpg.PostgresError):
                self._connection.terminate()  # it may be in any state; the next group opens another

    def _parameters(self, uploads: Sequence[SignedUpload]) -> tuple[str, str]:
        """The parameters of write_group: the uploads, and their pings, as JSON."""
        written = self._states.written
        pings = [
            ping_row(upload, ping, written.get(upload.installation_id))
            for upload in uploads
            for ping in upload.pings
        ]
        return as_json([upload_row(upload) for upload in uploads]), as_json(pings)

    async def _halve(
        self, uploads: Sequence[SignedUpload], error: asyncpg.PostgresError, *, again: bool
    ) -> list[Written]:
        if len(uploads) > 1:
            half = len(uploads) // 2
            return await self._write_group(uploads[:half]) + await self._write_group(uploads[half:])
        upload = uploads[0]
        if len(upload.pings) == 1:
            if again:  # a ping whose month got its partition meanwhile is blamed, too, but only once
                return await self._write_group(uploads, again=False)
            return [await self._quarantine(upload, error)]
        half = len(upload.pings) // 2
        [first] = await self._write_group([_with_pings(upload, upload.pings[:half])])
        [second] = await self._write_group([_with_pings(upload, upload.pings[half:])])
        return [Written(first.others | second.others, second.missing)]

    async def _quarantine(self, upload: SignedUpload, error: asyncpg.PostgresError) -> Written:
        [ping] = upload.pings
        log_rationed("ping quarantined", Severity.ERROR, sqlstate=error.sqlstate or "")
        assert self._connection is not None
        await self._connection.execute(
            SQL["quarantine"],
            *(upload.installation_id, ping.sequence, ping.ping_id, upload.product_id, upload.received_at),
            *(error.sqlstate, type(error).__name__, msgspec.json.encode(ping)),
        )
        return Written({ping.sequence: Status.QUARANTINED})

    # ── what was not new ────────────────────────────────────────────────────────────────────

    async def _tell_apart(
        self, uploads: Sequence[SignedUpload], rows: Sequence[asyncpg.Record]
    ) -> list[Written]:
        repeated: dict[UUID, list[int]] = defaultdict(list)
        received = {row["installation_id"]: row["received"] for row in rows if row["sequence"] is None}
        for row in rows:
            if row["sequence"] is not None:
                repeated[row["installation_id"]].append(row["sequence"])
        others = await self._duplicates_and_forks(uploads, repeated)
        received |= await self._received(repeated.keys() - received.keys())
        return [
            Written(
                others.get(upload.installation_id, {}),
                await self._missing(upload.installation_id, received.get(upload.installation_id)),
            )
            for upload in uploads
        ]

    async def _duplicates_and_forks(
        self, uploads: Sequence[SignedUpload], repeated: dict[UUID, list[int]]
    ) -> dict[UUID, dict[int, Status]]:
        if not repeated:
            return {}
        assert self._connection is not None
        keys = [(installation, number) for installation, numbers in repeated.items() for number in numbers]
        stored = await self._connection.fetch(SQL["look_up_stored"], *map(list, zip(*keys, strict=True)))
        sent = {(u.installation_id, ping.sequence): (u, ping) for u in uploads for ping in u.pings}
        others: dict[UUID, dict[int, Status]] = defaultdict(dict)
        forks: list[tuple[Any, ...]] = []
        for installation, number, stored_ping_id in stored:
            upload, ping = sent[installation, number]
            forked = stored_ping_id is not None and stored_ping_id != ping.ping_id
            if forked:
                forks.append(_fork(upload, ping, stored_ping_id))
            others[installation][number] = Status.FORKED if forked else Status.DUPLICATE
        await self._record(forks)
        return others

    async def _record(self, forks: list[tuple[Any, ...]]) -> None:
        if not forks:
            return
        assert self._connection is not None
        await self._connection.execute(SQL["record_forks"], *map(list, zip(*forks, strict=True)))
        log_rationed("forks seen")  # which, the table `forks` and the pages say

    async def _received(self, installations: set[UUID]) -> dict[UUID, Any]:
        if not installations:
            return {}
        assert self._connection is not None
        return dict(await self._connection.fetch(SQL["look_up_received"], list(installations)))

    async def _missing(self, installation: UUID, received: Sequence[Any] | None) -> Ranges:
        if received is None:
            return ()
        missing = holes(ranges(received))
        if len(missing) <= MOST_HOLES:
            return missing
        return await self._close_oldest_holes(installation)

    async def _close_oldest_holes(self, installation: UUID) -> Ranges:
        assert self._connection is not None
        async with self._connection.transaction():
            received = await self._connection.fetchval(SQL["lock_received"], installation)
            missing = holes(ranges(received))
            closed, kept = missing[:-MOST_HOLES], missing[-MOST_HOLES:]
            lost = sum(end - start for start, end in closed)
            await self._connection.execute(SQL["close_holes"], installation, multirange(closed), lost)
        return kept


async def _tell(group: list[_Waiting], written: list[Written]) -> None:
    """Tells each caller its upload's fate, a few at a time.

    All at once, all clients would answer with their next upload at once: PostgreSQL would wait for this
    process, then this process for PostgreSQL. So, while some are told, others already wait in the next group.
    """
    for number, (waiting, fate) in enumerate(zip(group, written, strict=True), 1):
        if not waiting.fate.done():
            waiting.fate.set_result(fate)
        if number % TOLD_AT_ONCE == 0:
            await asyncio.sleep(0)


def _fork(upload: SignedUpload, ping: Ping, stored_ping_id: UUID) -> tuple[Any, ...]:
    """The parameters of record_forks for one ping."""
    return (
        *(upload.installation_id, ping.sequence, ping.ping_id, stored_ping_id, upload.received_at),
        *(ping.occurred_at, upload.client_address, ping.facts, ping.details, upload.place),
    )


def _with_pings(upload: SignedUpload, pings: list[Ping]) -> SignedUpload:
    return msgspec.structs.replace(upload, pings=pings)


def _count(group: Sequence[_Waiting]) -> int:
    return sum(len(waiting.upload.pings) for waiting in group)
