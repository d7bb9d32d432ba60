"""The card "To clear up" of the overview: the queue of that page, in one row for each kind of doubt."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from telemetry_server.job_names import JobName
from telemetry_server.permissions import Permission
from telemetry_server.show.clear_up_words import KIND_WORDS, MARKS, in_evidence
from telemetry_server.show.scope import Scope
from telemetry_server.show.viewer import Viewer
from telemetry_server.store.database import Pool
from telemetry_server.store.fleet.clear_up import worst_items
from telemetry_server.store.reading import reading
from telemetry_server.store.watermarks import reached


@dataclass(frozen=True, slots=True)
class Doubts:
    """The doubts of one kind, with their worst one. Without the right to see licenses there are no paths."""

    words: str
    mark: str
    items: int
    since: datetime
    href: str | None = None
    worst: str | None = None
    worst_href: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for someone, the worst first; `listed_at`: as of then, None: not listed yet."""

    rows: list[Doubts]
    listed_at: datetime | None


async def queue_of(pool: Pool, scope: Scope, viewer: Viewer) -> Queue:
    products = viewer.products if scope.product is None else {scope.product}
    async with reading(pool) as connection:
        rows = await worst_items(connection, products, scope.now.date())
        listed_at = await reached(connection, JobName.LIST_WHAT_TO_CLEAR_UP)
    licenses = viewer.may(Permission.LICENSES)
    return Queue([_doubts(scope, row, licenses=licenses) for row in rows], listed_at)


def _doubts(scope: Scope, row: Mapping[str, Any], *, licenses: bool) -> Doubts:
    kind = row["kind"]
    made = KIND_WORDS[kind], MARKS[kind], row["items"], row["since"]
    if not licenses:
        return Doubts(*made)
    return Doubts(
        *made,
        href=scope.link("/to-clear-up", kind=kind),
        worst=in_evidence(row),
        worst_href=f"/to-clear-up/{row['clear_up_id']}",
        hint=row["key_hint"] or row["evidence"].get("key_hint"),
    )
