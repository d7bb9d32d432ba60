"""What is to be cleared up: items by kind and subject, and how far people are with each."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

import orjson

from telemetry_server.errors import BadRequest, OperatorError
from telemetry_server.model import Author
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.store.fleet.clear_up_facts import OF_VERDICT, ClearUpKind, Doubt, doubts
from telemetry_server.store.fleet.licensed_copies import verdict_since
from telemetry_server.store.json_rows import as_json
from telemetry_server.store.queries import fill, load
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

Row: TypeAlias = dict[str, Any]

UNDO_WITHIN = timedelta(seconds=30)
"""How long an action can be taken back: the page offers it for ten seconds, and a click takes its time."""
MOST_AT_ONCE = 50
_AT_ONCE = 500  # facts, or items, that the job has in memory
SORTS: Mapping[str, str] = {
    "worst": "array_position(ARRAY[{}], t.kind), t.size DESC".format(
        ", ".join(f"'{kind.value}'" for kind in ClearUpKind)
    ),
    "size": "t.size DESC",
    "first": "t.first_at",
    "last": "t.last_at DESC",
}


class ClearUpState(StrEnum):
    """How far an item is; an explained one is open again after its day, a closed one with its facts."""

    OPEN = "open"
    ASKED = "asked"
    EXPLAINED = "explained"
    CLOSED = "closed"


PRESENT = (ClearUpState.OPEN, ClearUpState.ASKED)
"""The states that wait for someone."""


class NothingToUndo(OperatorError):
    """This was taken back already, or is too long ago."""

    status, code = 409, "nothing_to_undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearUpFilter:
    """Which items are wanted; None: any. `products` are slugs."""

    products: Collection[str] | None = None
    kind: str | None = None
    owner: str | None = None
    clear_up_id: UUID | None = None
    subject: str | None = None
    states: Collection[str] = PRESENT


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an action sets; `owner` None leaves it, "" clears it; `state` None leaves it."""

    state: ClearUpState | None = None
    explained_until: date | None = None
    owner: str | None = None

    def of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """State, explanation and owner of an item afterwards."""
        state = row["state"] if self.state is None else self.state.value
        until = row["explained_until"] if self.state is None else self.explained_until
        owner = row["owner"] if self.owner is None else self.owner or None
        return {"state": state, "explained_until": until, "owner": owner}


# ── the job ─────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Changes:
    """The differences between the facts and the items of one kind that are not written yet."""

    kind: ClearUpKind
    fresh: list[Doubt] = field(default_factory=list)
    moved: list[Doubt] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def add(self, doubt: Doubt | None, item: Any) -> None:
        """A fact and its item; one of them may be missing."""
        if doubt is None:
            if not item["closed"]:
                self.gone.append(item["subject"])
        elif item is None or item["closed"]:
            self.fresh.append(doubt)
        elif _moved(doubt, item):
            self.moved.append(doubt)

    def __len__(self) -> int:
        return len(self.fresh) + len(self.moved) + len(self.gone)


async def list_doubts(connection: Connection, now: datetime) -> Counter[str]:
    """Opens, updates and closes items by the present facts; returns how many of each.

    Facts and items are read side by side, by subject, and written a few hundred at a time: the job takes as
    little memory for a million unknown keys as for one. A kind is one transaction.
    """
    counts = Counter(opened=0, updated=0, closed=0)
    for kind in ClearUpKind:
        async with connection.transaction():
            found = doubts(connection, kind, now)
            known = aiter(connection.cursor(SQL["known_items"], kind.value, prefetch=_AT_ONCE))
            changes = _Changes(kind)
            async for doubt, item in _side_by_side(found, known):
                changes.add(doubt, item)
                if len(changes) >= _AT_ONCE:
                    counts.update(await _write(connection, changes, now))
                    changes = _Changes(kind)
            counts.update(await _write(connection, changes, now))
    return counts


async def _side_by_side(
    found: AsyncIterator[Doubt], known: AsyncIterator[Any]
) -> AsyncIterator[tuple[Doubt | None, Any]]:
    """Both in the order of their subjects, those of the same subject together."""
    doubt, item = await anext(found, None), await anext(known, None)
    while doubt is not None or item is not None:
        if item is None or (doubt is not None and doubt.subject < item["subject"]):
            yield doubt, None
            doubt = await anext(found, None)
        elif doubt is None or item["subject"] < doubt.subject:
            yield None, item
            item = await anext(known, None)
        else:
            yield doubt, item
            doubt, item = await anext(found, None), await anext(known, None)


async def _write(connection: Connection, changes: _Changes, now: datetime) -> dict[str, int]:
    fresh = await _with_their_beginning(connection, changes)
    if rows := [{"clear_up_id": uuid7()} | asdict(doubt) for doubt in (*fresh, *changes.moved)]:
        await connection.execute(SQL["keep_items"], as_json(rows), now)
    if changes.gone:
        await connection.execute(SQL["close_items"], changes.kind.value, changes.gone, now)
    return {"opened": len(fresh), "updated": len(changes.moved), "closed": len(changes.gone)}


def _moved(doubt: Doubt, row: Any) -> bool:
    return (doubt.size, doubt.last_at, dict(doubt.evidence)) != (
        row["size"],
        row["last_at"],
        orjson.loads(row["evidence"]),
    )


async def _with_their_beginning(connection: Connection, changes: _Changes) -> Sequence[Doubt]:
    """Those that are new, with the time at which the first of the present copies came to its verdict."""
    verdict = next((verdict for verdict, kind in OF_VERDICT.items() if kind is changes.kind), None)
    ids = [doubt.license_id for doubt in changes.fresh if doubt.license_id is not None]
    if verdict is None or not ids:
        return changes.fresh
    since: Mapping[Any, datetime] = await verdict_since(connection, ids, verdict)
    return [replace(each, first_at=since.get(each.license_id, each.first_at)) for each in changes.fresh]


# ── reading ─────────────────────────────────────────────────────────────────────────────────


async def items(
    connection: Connection, wanted: ClearUpFilter, *, sort: str, limit: int, offset: int = 0, today: date
) -> list[Row]:
    """The items that match; `evidence` as a dictionary."""
    rows = await connection.fetch(
        fill(SQL["items"], order=f"{SORTS[sort]}, t.clear_up_id"),
        limit,
        offset,
        today,
        _slugs(wanted.products),
        wanted.kind,
        wanted.owner,
        wanted.clear_up_id,
        list(map(str, wanted.states)),
        wanted.subject,
    )
    return [{**row, "evidence": orjson.loads(row["evidence"])} for row in rows]


async def item_counts(
    connection: Connection, products: Collection[str] | None, owner: str | None, today: date
) -> Counter[tuple[str, str]]:
    """The number of items by kind and state."""
    rows = await connection.fetch(SQL["item_counts"], today, _slugs(products), owner)
    return Counter({(row["kind"], row["state"]): row["items"] for row in rows})


async def worst_items(connection: Connection, products: Collection[str] | None, today: date) -> list[Row]:
    """Of each kind, the worst first, the largest item that waits for someone; `evidence` as a dictionary.

    Beside it the number of `items` of its kind, their `sizes` together, and `since` when.
    """
    rows = await connection.fetch(SQL["worst_items"], today, _slugs(products))
    found = {row["kind"]: {**row, "evidence": orjson.loads(row["evidence"])} for row in rows}
    return [found[kind] for kind in ClearUpKind if kind in found]


async def item_changes(connection: Connection, clear_up_id: UUID) -> list[Row]:
    """What people did with an item, the newest first; before and after as dictionaries."""
    rows = await connection.fetch(SQL["item_changes"], clear_up_id)
    return [
        {**row, "before": orjson.loads(row["before"]), "after": orjson.loads(row["after"])} for row in rows
    ]


async def cases_of(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> dict[UUID, UUID]:
    """The case of the subject of each item, if the investigations have one."""
    subjects = {row["clear_up_id"]: row["subject"].rpartition("/")[2] for row in rows}
    found = await connection.fetch(SQL["cases_of"], sorted(set(subjects.values())))
    cases = {row["subject_id"]: row["case_id"] for row in found}
    return {item: cases[subject] for item, subject in subjects.items() if subject in cases}


# ── changing ────────────────────────────────────────────────────────────────────────────────


async def change_items(
    connection: Connection,
    clear_up_ids: Collection[UUID],
    wanted: Wanted,
    *,
    products: Collection[str] | None,
    by: Author,
    now: datetime,
) -> tuple[UUID, int]:
    """Carries out one action on open items of these products: its id for `undo`, and the number of items."""
    if len(clear_up_ids) > MOST_AT_ONCE:
        raise BadRequest(f"At most {MOST_AT_ONCE} at once.")
    change_id = uuid7()
    async with connection.transaction():
        rows = await connection.fetch(SQL["lock_items"], list(clear_up_ids), _slugs(products))
        befores = {row["clear_up_id"]: Wanted().of(row) for row in rows}
        changed = [
            {
                "clear_up_id": row["clear_up_id"],
                "before": befores[row["clear_up_id"]],
                "after": wanted.of(row),
            }
            for row in rows
            if wanted.of(row) != befores[row["clear_up_id"]]
        ]
        if changed:
            after = [{"clear_up_id": each["clear_up_id"]} | each["after"] for each in changed]
            await connection.execute(SQL["set_items"], as_json(after))
            await connection.execute(
                SQL["record_item_changes"], as_json(changed), change_id, now, by.actor, by.reason
            )
            await _record(connection, "clear_up.change", [each["clear_up_id"] for each in changed], by, now)
    return change_id, len(changed)


async def undo(connection: Connection, change_id: UUID, *, by: Author, now: datetime) -> int:
    """Takes an action of that person back, where no one changed the item since. Raises NothingToUndo."""
    async with connection.transaction():
        taken = await connection.fetch(SQL["take_back"], change_id, by.actor, now - UNDO_WITHIN, now)
        if not taken:
            raise NothingToUndo
        locked = await connection.fetch(SQL["lock_items"], [row["clear_up_id"] for row in taken], None)
        present = {row["clear_up_id"]: orjson.loads(orjson.dumps(Wanted().of(row))) for row in locked}
        back = [
            {"clear_up_id": row["clear_up_id"]} | orjson.loads(row["before"])
            for row in taken
            if present.get(row["clear_up_id"]) == orjson.loads(row["after"])
        ]
        await connection.execute(SQL["set_items"], as_json(back))
        await _record(connection, "clear_up.undo", [row["clear_up_id"] for row in back], by, now)
    return len(back)


async def _record(
    connection: Connection, action: str, clear_up_ids: Sequence[UUID], by: Author, now: datetime
) -> None:
    entry = audit.Entry(
        actor=by.recorded_as or by.actor,
        action=action,
        subject_kind="clear_up",
        subject_id=str(clear_up_ids[0]) if len(clear_up_ids) == 1 else None,
        reason=by.reason,
        network=by.network,
        details={"items": [str(each) for each in clear_up_ids]},
    )
    await audit.record(connection, entry, now)


def _slugs(products: Collection[str] | None) -> list[str] | None:
    return None if products is None else sorted(products)
