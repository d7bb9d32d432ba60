"""What was not new: the outcomes of repeated pings, forks, and the numbers an installation is missing."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from telemetry_server.logs import log_rationed
from telemetry_server.model import SignedUpload, Status, Written
from telemetry_server.store.database import Connection
from telemetry_server.store.ingest.group_rows import fork_row
from telemetry_server.store.queries import load
from telemetry_server.store.ranges import Ranges, holes, multirange, ranges

SQL = load(__name__)

MOST_HOLES = 64


async def with_outcomes(
    connection: Connection,
    uploads: Sequence[SignedUpload],
    repeated: Sequence[Mapping[str, Any]],
    with_holes: Sequence[Mapping[str, Any]],
) -> list[Written]:
    """The outcome of each upload of a group that has pings which were not new, or holes.

    `repeated`, `with_holes`: the rows of write_group of these kinds.
    """
    others = await _duplicates_and_forks(connection, uploads, repeated)
    received = {row["installation_id"]: row["received"] for row in with_holes}
    if unknown := others.keys() - received.keys():
        rows = await connection.fetch(SQL["look_up_received"], list(unknown))
        received |= {row["installation_id"]: row["received"] for row in rows}
    return [
        Written(
            others.get(upload.installation_id, {}),
            await _missing(connection, upload.installation_id, received.get(upload.installation_id, ())),
        )
        for upload in uploads
    ]


async def _duplicates_and_forks(
    connection: Connection, uploads: Sequence[SignedUpload], repeated: Sequence[Mapping[str, Any]]
) -> dict[UUID, dict[int, Status]]:
    """The outcomes of repeated pings, by installation and number; stores the forks."""
    if not repeated:
        return {}
    ids, numbers = [row["installation_id"] for row in repeated], [row["sequence"] for row in repeated]
    sent = {(u.installation_id, ping.sequence): (u, ping) for u in uploads for ping in u.pings}
    others: dict[UUID, dict[int, Status]] = defaultdict(dict)
    forks: list[tuple[Any, ...]] = []
    rows = await connection.fetch(SQL["look_up_stored"], ids, numbers)
    stored = {(row["installation_id"], row["sequence"]): row["stored_ping_id"] for row in rows}
    for key in zip(ids, numbers, strict=True):
        upload, ping = sent[key]
        forked = stored.get(key) not in {None, ping.ping_id}
        if forked:
            forks.append(fork_row(upload, ping, stored[key]))
        others[upload.installation_id][ping.sequence] = Status.FORKED if forked else Status.DUPLICATE
    if forks:
        await connection.execute(SQL["record_forks"], *map(list, zip(*forks, strict=True)))
        log_rationed("forks seen")  # the table `forks` and the pages have the details
    return others


async def _missing(connection: Connection, installation: UUID, received: Iterable[Any]) -> Ranges:
    """The missing numbers; of more than MOST_HOLES ranges, the oldest are closed for good."""
    missing = holes(ranges(received))
    if len(missing) <= MOST_HOLES:
        return missing
    async with connection.transaction():
        received = await connection.fetchval(SQL["lock_received"], installation)
        missing = holes(ranges(received))
        closed, kept = missing[:-MOST_HOLES], missing[-MOST_HOLES:]
        lost = sum(end - start for start, end in closed)
        await connection.execute(SQL["close_holes"], installation, multirange(closed), lost)
    return kept
