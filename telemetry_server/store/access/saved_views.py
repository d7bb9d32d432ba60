"""Saved views: a page with its query under a name, for one person or for everyone who may see that page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.store.database import Connection, Pool, translated
from telemetry_server.store.queries import load
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

LONGEST_NAME, LONGEST_ADDRESS = 80, 2_000
MOST_VIEWS = 100  # of one person, and as many of everyone


class NoSuchView(NotFound):
    """This view is unknown, deleted, or not yours to change."""


@dataclass(frozen=True, slots=True)
class SavedView:
    """A view. `mine`: this person saved it."""

    view_id: UUID
    name: str
    address: str
    shared: bool
    created_by: str
    mine: bool


@dataclass(frozen=True, slots=True)
class Keeper:
    """Who changes views: a person (None: none), who may perhaps change those of everyone."""

    person_id: UUID | None
    all_shared: bool


async def views_for(pool: Pool, person_id: UUID | None) -> Sequence[SavedView]:
    """The views of the person and those of everyone, by name."""
    async with translated():
        rows = await pool.fetch(SQL["views_for"], person_id)
    return [SavedView(**row) for row in rows]


async def save_view(
    connection: Connection, name: str, address: str, *, shared: bool, keeper: Keeper, by: str, now: datetime
) -> UUID:
    """Saves a view. Raises BadRequest: there are too many, or no person whose own it could be."""
    if not shared and keeper.person_id is None:
        raise BadRequest("Only a person has own views; save it for everyone.")
    view_id = uuid7()
    values = view_id, name, address, shared, keeper.person_id, by, now, MOST_VIEWS
    if await connection.fetchval(SQL["save_view"], *values) is None:
        raise BadRequest(f"There are {MOST_VIEWS} views already; delete one first.")
    return view_id


async def change_view(
    connection: Connection, view_id: UUID, name: str, *, shared: bool, keeper: Keeper
) -> None:
    """Renames a view, and sets who sees it. Raises NoSuchView."""
    values = view_id, name, shared, keeper.person_id, keeper.all_shared
    if await connection.fetchval(SQL["change_view"], *values) is None:
        raise NoSuchView


async def delete_view(connection: Connection, view_id: UUID, keeper: Keeper) -> None:
    """Raises NoSuchView."""
    values = view_id, keeper.person_id, keeper.all_shared
    if await connection.fetchval(SQL["delete_view"], *values) is None:
        raise NoSuchView
