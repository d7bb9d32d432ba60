"""The group writer: acknowledged pings are committed, and count exactly once.

While one group is being written the next one gathers: no timer, no fixed size. Each caller waits for its
upload and gets its result, always after the commit. A ping that PostgreSQL refuses is found by halving the
group, and goes to quarantine; all others are committed. When PostgreSQL is away, or more uploads wait than
memory allows, the caller gets Unavailable: the outbox of the sender is the buffer, not this process.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Self
from uuid import UUID

import asyncpg
import msgspec

from telemetry_server.errors import Unavailable
from telemetry_server.logs import Severity, log, log_rationed
from telemetry_server.model import ALL_ACCEPTED, Ping, SignedUpload, Status, Written
from telemetry_server.store.database import Connect, Connection
from telemetry_server.store.distribution import has_citus
from telemetry_server.store.halving import blames_data, halving
from telemetry_server.store.ingest.feature_names import FeatureNames
from telemetry_server.store.ingest.group_rows import group_parameters
from telemetry_server.store.ingest.last_write import OF_ONE_NODE, LastWrite
from telemetry_server.store.ingest.projection import project
from telemetry_server.store.ingest.repeats import with_outcomes
from telemetry_server.store.ingest.shard_cache import ShardCache
from telemetry_server.store.ingest.written_states import WrittenStates
from telemetry_server.store.queries import load
from telemetry_server.store.ranges import Ranges

SQL = load(__name__)

MOST_PINGS_IN_A_GROUP = 500
ANSWERS_AT_ONCE = 16
WORTH_ANOTHER_LANE = 64
WRITE_TIMEOUT_SECONDS = 10
NOTE_TIMEOUT_SECONDS = 3
LONGEST_WAIT_SECONDS = 60  # the roll-ups expect pings to be committed within minutes of their receipt
_REPORT_SECONDS = 5
TRY_AGAIN_SECONDS = 5
_ERASED = Written(erased=True)


class _Waiting(msgspec.Struct, gc=False):
    upload: SignedUpload
    size: int
    fate: asyncio.Future[Written]
    since: float


class GroupWriter:
    """Writes uploads in groups over `lanes` separate connections.

    `connect` opens a connection; `most_bytes` limits the uploads that wait. Use as an async context manager:
    on exit it writes what waits, then closes the connections.
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
        """Why the last group could not be written; None if it could."""
        return self._last.problem

    async def write(self, upload: SignedUpload, size: int) -> Written:
        """Commits the new pings of `upload`, and returns the outcome of all of them.

        `size` is the memory it takes, in bytes. Raises Unavailable if nothing was committed, or if that is
        not known: the write is idempotent, and the caller may retry it.
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
            try:
                await asyncio.sleep(0)  # uploads that are ready join the group now: fewer, larger commits
                if group := self._gather():
                    await writing.write(group)
                elif self._last.upload:
                    await writing.try_again(self._last.upload)
            finally:
                self._busy -= 1
        await writing.close()

    async def _enough_waits(self) -> bool:
        """Waits until there is a group for one more lane; False when the writer closes and nothing waits.

        Beside a busy lane, another one starts only with many pings: a few are cheaper in the next group of
        the first. While pings cannot be written, an idle lane also returns to retry.
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
        """The next group: at most one upload per installation, and about MOST_PINGS_IN_A_GROUP pings."""
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


class _Group(NamedTuple):
    """A committed group: the result of each upload, and the installations to be projected."""

    written: list[Written]
    changed: set[UUID]


class _Lane:
    """Writes groups over one connection."""

    def __init__(self, connect: Connect, states: WrittenStates, last: LastWrite) -> None:
        self._connect = connect
        self._states = states
        self._last = last
        self._report_at, self._failed_pings = 0.0, 0
        self._connection: Connection | None = None
        self._names = FeatureNames()
        self._shards: ShardCache | None = None  # of a cluster
        self._answering: asyncio.Task[None] | None = None

    async def write(self, group: list[_Waiting]) -> None:
        """Writes the group; on a cluster in parts, one for each node."""
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                parts = await self._by_node(group)
        except Exception as error:  # noqa: BLE001  every caller must get an answer
            await self._give_up(group, error)
            return
        for part in parts:
            await self._write_part(part)

    async def _by_node(self, group: list[_Waiting]) -> Sequence[list[_Waiting]]:
        connection = await self._connected()
        if self._shards is None:
            return [group]
        shards = await self._shards.find(connection, [waiting.upload.installation_id for waiting in group])
        parts: dict[int, list[_Waiting]] = defaultdict(list)
        for waiting in group:
            shard = shards.get(waiting.upload.installation_id)
            parts[shard.node if shard else 0].append(waiting)
        return list(parts.values())

    async def _write_part(self, group: list[_Waiting]) -> None:
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                written, changed = await self._write_group([waiting.upload for waiting in group])
        except Exception as error:  # noqa: BLE001  every caller must get an answer
            await self._give_up(group, error)
            return
        self._last.good()
        if changed:
            await self._project(changed)
        if self._answering is not None:
            await self._answering
        self._answering = asyncio.create_task(_answer(group, written))

    async def close(self) -> None:
        if self._answering is not None:
            await self._answering
        if self._connection is not None:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await self._connection.close(timeout=2)

    async def _give_up(self, group: list[_Waiting], error: Exception) -> None:
        """Acknowledges nothing. Drops the connection, which may be in any state, unless a node is down."""
        if getattr(error, "sqlstate", None) != OF_ONE_NODE:
            self._hang_up()
        self._last.failed(error, group[0].upload)
        for waiting in group:
            if not waiting.fate.done():
                waiting.fate.set_exception(Unavailable("PostgreSQL did not confirm the pings."))
        self._report(error, sum(len(waiting.upload.pings) for waiting in group))

    async def try_again(self, upload: SignedUpload) -> None:
        """Tests whether pings can be written again: writes an upload that failed, and rolls it back.

        The sender repeats the pings themselves. The commit tests the disk.
        """
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                connection = await self._connected()
                async with connection.transaction():
                    attempt = connection.transaction()
                    await attempt.start()
                    await self._write_new(connection, [upload])
                    await attempt.rollback()
        except Exception as error:  # noqa: BLE001  as in `write`
            self._hang_up()
            if not (isinstance(error, asyncpg.PostgresError) and blames_data(error)):
                self._last.failed(error, upload)
                return
        self._last.good()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            self._shards = ShardCache() if await has_citus(self._connection) else None
            await self._begin_anew(self._connection)
        return self._connection

    async def _begin_anew(self, connection: Connection) -> None:
        """Forgets what the database had: it may be another one by now, restored, or a standby."""
        self._states.written.clear()
        if self._shards is not None:
            self._shards.forget()
        await self._names.load(connection)

    def _report(self, error: Exception, pings: int) -> None:
        """Logs once in a few seconds: while PostgreSQL is away, every group fails."""
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

    async def _write_group(self, uploads: Sequence[SignedUpload]) -> _Group:
        """Writes a group; if PostgreSQL refuses data, all except the refused pings."""
        connection = await self._connected()
        group = _Group([], set())
        for part, result in await halving(uploads, partial(self._write_rows, connection)):
            refused = isinstance(result, asyncpg.PostgresError)
            written, changed = await self._write_around(connection, part[0]) if refused else result
            group.written.extend(written)
            group.changed.update(changed)
        return group

    async def _write_around(self, connection: Connection, upload: SignedUpload) -> _Group:
        """Writes the upload without the pings that PostgreSQL refuses, which go to quarantine.

        Each is tried again: one that was refused because its month got a partition meanwhile is written now.
        """

        async def write(pings: Sequence[Ping]) -> _Group:
            return await self._write_rows(connection, [msgspec.structs.replace(upload, pings=pings)])

        others: dict[int, Status] = {}
        missing: Ranges = ()
        changed: set[UUID] = set()
        for pings, result in await halving(upload.pings, write):
            if isinstance(result, asyncpg.PostgresError):
                await _quarantine(connection, upload, pings[0], result)
                others[pings[0].sequence], missing = Status.QUARANTINED, ()
                continue
            [written] = result.written
            if written.erased:
                return _Group([written], set())
            others |= written.others
            missing = written.missing
            changed |= result.changed
        return _Group([Written(others, missing)], changed)

    async def _write_rows(self, connection: Connection, uploads: Sequence[SignedUpload]) -> _Group:
        by_kind = await self._write_known(connection, uploads)
        while by_kind["outdated"]:
            await self._begin_anew(connection)
            by_kind = await self._write_known(connection, uploads)
        changed = {row["installation_id"] for row in by_kind["changed"]}
        erased = {row["installation_id"] for row in by_kind["erased"]}
        if by_kind["repeated"] or by_kind["holes"]:
            written = await with_outcomes(connection, uploads, by_kind["repeated"], by_kind["holes"])
        else:
            written = [ALL_ACCEPTED] * len(uploads)
            self._states.remember(uploads)
        if erased:
            pairs = zip(uploads, written, strict=True)
            written = [_ERASED if each.installation_id in erased else its for each, its in pairs]
        return _Group(written, changed)

    async def _write_known(
        self, connection: Connection, uploads: Sequence[SignedUpload]
    ) -> dict[str, list[Mapping[str, Any]]]:
        """The rows of write_group by kind."""
        await self._names.add(connection, uploads)
        by_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in await self._write_new(connection, uploads):
            by_kind[row["kind"]].append(row)
        return by_kind

    async def _write_new(
        self, connection: Connection, uploads: Sequence[SignedUpload]
    ) -> Sequence[Mapping[str, Any]]:
        if self._shards and await self._shards.find(connection, [uploads[0].installation_id]):
            if not await self._names.are_of(connection):
                return [{"kind": "outdated"}]
            by_installation = {upload.installation_id: upload for upload in uploads}

            def parameters(installations: list[UUID]) -> tuple[str | None, ...]:
                return *self._parameters([by_installation[one] for one in installations]), None

            return await self._shards.run(connection, SQL["write_group"], by_installation, parameters)
        parameters_here = *self._parameters(uploads), self._names.generation
        rows: Sequence[Mapping[str, Any]] = await connection.fetch(SQL["write_group"], *parameters_here)
        return rows

    async def _project(self, changed: set[UUID]) -> None:
        """Projects committed pings: an error here loses no ping, and the job "catch up" repeats it."""
        assert self._connection is not None
        try:
            async with asyncio.timeout(NOTE_TIMEOUT_SECONDS):
                await project(self._connection, sorted(changed), self._shards)
        except Exception as error:  # noqa: BLE001  if it fails, too, the callers learn of the commit
            log("pings not projected", Severity.ERROR, error=f"{type(error).__name__}: {error}"[:500])
            if not isinstance(error, asyncpg.PostgresError):
                self._connection.terminate()  # it may be in any state; the next group opens a new one

    def _parameters(self, uploads: Sequence[SignedUpload]) -> tuple[str, str]:
        return group_parameters(uploads, self._states.written, self._names.numbers)


async def _quarantine(
    connection: Connection, upload: SignedUpload, ping: Ping, error: asyncpg.PostgresError
) -> None:
    log_rationed("ping quarantined", Severity.ERROR, sqlstate=error.sqlstate or "")
    await connection.execute(
        SQL["quarantine"],
        *(upload.installation_id, ping.sequence, ping.ping_id, upload.product_id, upload.received_at),
        *(error.sqlstate, type(error).__name__, msgspec.json.encode(ping)),
    )


async def _answer(group: list[_Waiting], written: list[Written]) -> None:
    """Gives each caller the result of its upload, a few at a time.

    If all got it at once, all clients would send their next uploads at once: PostgreSQL would wait for this
    process, then this process for PostgreSQL. So the first ones already wait in the next group while others
    get theirs.
    """
    for number, (waiting, fate) in enumerate(zip(group, written, strict=True), 1):
        if not waiting.fate.done():
            waiting.fate.set_result(fate)
        if number % ANSWERS_AT_ONCE == 0:
            await asyncio.sleep(0)
