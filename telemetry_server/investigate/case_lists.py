"""Reading cases: the queue, one case with all that belongs to it, and what came of the rules so far."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import orjson

from telemetry_server.errors import NotFound
from telemetry_server.investigate.measuring import bounds_of
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

MOST_HISTORY = 500
_MOST_SIMILAR = 20

Row: TypeAlias = dict[str, Any]


class NoSuchCase(NotFound):
    """There is no such case."""


class QueueState(StrEnum):
    """Which cases a queue shows."""

    TO_DO = "to_do"
    WAITING = "waiting"
    PAUSED = "paused"
    DECIDED = "decided"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFilter:
    """Which cases are wanted; None: any. `mentioned`: the e-mail of a person whom a note names."""

    products: Collection[str] | None = None
    state: QueueState = QueueState.TO_DO
    owner: str | None = None
    rule: str | None = None
    mentioned: str | None = None


class Precision(NamedTuple):
    """What people decided on the cases of a rule; `low` and `high`: Wilson's 95 % bounds of its precision."""

    rule: str
    confirmed: int
    explained: int
    unclear: int
    low: float | None
    high: float | None

    @property
    def share(self) -> float | None:
        judged = self.confirmed + self.explained
        return self.confirmed / judged if judged else None


async def find_cases(
    connection: Connection, wanted: CaseFilter, *, now: datetime, limit: int, offset: int = 0
) -> tuple[list[Row], int]:
    """Cases, those worth a look first, and the number of all that match."""
    rows = await connection.fetch(
        SQL["cases"],
        now,
        None if wanted.products is None else sorted(wanted.products),
        wanted.state,
        wanted.owner,
        wanted.rule,
        wanted.mentioned and wanted.mentioned.lower(),
        limit,
        offset,
    )
    return [dict(row) for row in rows], rows[0]["total"] if rows else 0


async def case_by_id(connection: Connection, case_id: UUID) -> Row:
    """A case; `waterfall` as a dictionary. Raises NoSuchCase."""
    row = await connection.fetchrow(SQL["case"], case_id)
    if row is None:
        raise NoSuchCase
    return {**row, "waterfall": orjson.loads(row["waterfall"])}


async def findings_of(connection: Connection, case_id: UUID) -> list[Row]:
    """The findings in a case, what is still seen first; `evidence` as a dictionary."""
    rows = await connection.fetch(SQL["findings"], case_id)
    return [{**row, "evidence": orjson.loads(row["evidence"])} for row in rows]


async def history_of(connection: Connection, case_id: UUID, *, limit: int | None = MOST_HISTORY) -> list[Row]:
    """What happened to a case, the newest first, at most `limit` (None: all); `what` as a dictionary."""
    rows = await connection.fetch(SQL["history"], case_id, limit)
    return [{**row, "what": orjson.loads(row["what"])} for row in rows]


async def pauses_of(connection: Connection, case_id: UUID) -> list[Row]:
    """What takes or took it out of the queue, the newest first."""
    return [dict(row) for row in await connection.fetch(SQL["pauses"], case_id)]


async def handovers_of(connection: Connection, case_id: UUID) -> list[Row]:
    """The exports of its evidence, the first one first."""
    return [dict(row) for row in await connection.fetch(SQL["handovers"], case_id)]


async def attachments_of(connection: Connection, case_id: UUID) -> list[Row]:
    """Its files, without their content."""
    return [dict(row) for row in await connection.fetch(SQL["attachments"], case_id)]


async def attachment(connection: Connection, case_id: UUID, attachment_id: UUID) -> tuple[str, bytes]:
    """The name and the content of a file. Raises NotFound."""
    row = await connection.fetchrow(SQL["attachment"], case_id, attachment_id)
    if row is None:
        raise NotFound("There is no such file in this case.")
    return row["name"], row["content"]


async def attachments_with_content(connection: Connection, case_id: UUID) -> list[Row]:
    return [dict(row) for row in await connection.fetch(SQL["attachments_with_content"], case_id)]


async def merged_into(connection: Connection, case_id: UUID) -> list[Row]:
    """The cases that were merged into this one."""
    return [dict(row) for row in await connection.fetch(SQL["merged_cases"], case_id)]


async def similar_cases(
    connection: Connection, case: Mapping[str, Any], installations: Collection[str]
) -> list[Row]:
    """Other cases whose findings are on the same installations, and how many they share."""
    wanted = (case["case_id"], case["product_id"], sorted(installations), _MOST_SIMILAR)
    return [dict(row) for row in await connection.fetch(SQL["similar"], *wanted)] if installations else []


async def precision_by_rule(connection: Connection) -> list[Precision]:
    """What people's own decisions say of each rule."""
    rows = await connection.fetch(SQL["decisions_by_rule"])
    counts = [(row["rule"], row["confirmed"], row["explained"], row["unclear"]) for row in rows]
    return [Precision(*each, *_bounds(each[1], each[1] + each[2])) for each in counts]


def _bounds(confirmed: int, judged: int) -> tuple[float, float] | tuple[None, None]:
    return bounds_of(confirmed, judged) if judged else (None, None)
