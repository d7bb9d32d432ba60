"""What is left of erased installations: how many of them are counted in each cell of the roll-ups.

A day that is counted again (a late ping, "rollup rebuild") reads rows that no longer have the installation,
and adds these numbers. The statements find the cells as those of `rollups` and `active_days` do.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID

from telemetry_server.store.counts.active_days import TURNED
from telemetry_server.store.database import Connection
from telemetry_server.store.dimensions import BY_NAME, DIMENSIONS, at_end_of_day, grouping
from telemetry_server.store.queries import fill, load

SQL = load(__name__)
_KEEP_FLEET = fill(
    SQL["keep_fleet"],
    **grouping(
        {one.name: one.state for one in DIMENSIONS if one.rolled and one.state},
        otherwise="verdict",
        value="verdict",
    ),
)
_KEEP_ACTIVE = fill(
    SQL["keep_active"],
    **grouping(
        at_end_of_day(TURNED, "f.turned", "f.life_at_end", lost="lost"),
        otherwise="life",
        value="NULL::text",
        total=False,
    ),
)
_KEEP_FEATURE_VALUES = fill(
    SQL["keep_feature_values"], **{name: BY_NAME[name].then or "" for name in ("version", "edition")}
)
_SECONDS = 600


async def keep_counts(connection: Connection, installations: Sequence[UUID], today: date) -> None:
    """Adds all cells in which these installations are counted; call it before they are deleted.

    At the end of the day `today` they are not there any more. Call within `rollups.counting` of both jobs.
    """
    await connection.execute(_KEEP_FLEET, installations, timeout=_SECONDS)
    await keep_features(connection, installations, today, pings=True)
    if (first := await connection.fetchval(SQL["first_day"], installations)) is not None:
        # Pings of a day before the first one was received are counted on their day.
        days = first - timedelta(days=400), today - timedelta(days=1)
        await connection.execute(_KEEP_ACTIVE, installations, *days, timeout=_SECONDS)
    await connection.execute(SQL["keep_cohorts"], installations, timeout=_SECONDS)


async def keep_features(
    connection: Connection, installations: Sequence[UUID], until: date, *, pings: bool = False
) -> None:
    """Adds the cells of features up to that day; with `pings`, that they sent pings, too."""
    await connection.execute(SQL["keep_features"], installations, until, timeout=_SECONDS)
    await connection.execute(_KEEP_FEATURE_VALUES, installations, until, pings, timeout=_SECONDS)
