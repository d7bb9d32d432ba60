"""Writes a simulated fleet: copies its rows, makes its pings in the database; also removes a fleet.

Everything happens in the caller's transaction: a fleet is stored whole or not at all. New months are filled
first, indexed next, and attached last, which is quick: writers and readers of pings wait for that moment
only.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import orjson

from telemetry_server.errors import OperatorError, Unavailable
from telemetry_server.job_names import JobName
from telemetry_server.model import LicenseStatus, LicenseType, Lifecycle, Product, ProductId, Verdict
from telemetry_server.simulate.rows import TABLES, Row
from telemetry_server.store.dimensions import PROJECTED
from telemetry_server.store.job_log import lock_number
from telemetry_server.store.partitions import PINGS, WAIT_A_MOMENT, attach, months_after, partition_months
from telemetry_server.store.queries import fill, load

SQL = load(__name__)
_MAKE_FACTS = fill(SQL["make_facts"], columns=", ".join(PROJECTED), values=", ".join(PROJECTED.values()))

USAGES = 16
"""The number of usage sections of a profile on a day of the week."""

_HOURS_SECONDS = 6 * 3600
_ATTEMPTS = 600
_BOUNDS = "within_the_month"
_ROWS_AT_ONCE = 2_000
_DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MEMORY = "SET LOCAL maintenance_work_mem = '256MB'"
_REMOVED = (
    *("pings", "states", "changes", "forks", "installation_days", "lineage", "quarantine", "facts"),
    *("case_rows", "cases", "findings", "support_grants", "followed_installations", "erased_installations"),
    *("restricted_installations", "installation_levels", "erased_counts", "hostnames"),
    *("installations", "fleet_days", "fleet_now", "feature_days", "cohort_weeks", "days_due"),
    *("active_days", "active_due", "feature_value_days"),
    *("ingest_counts", "registry_changes", "license_keys", "licenses", "customers", "editions", "releases"),
)

Batch: TypeAlias = Mapping[type[Row], Sequence[Row]]


class NotSimulated(OperatorError):
    """This product is a real one and stays as it is; give the simulated one another name."""

    code = "not_simulated"


class FleetBeingMade(OperatorError):
    """Another process is making a fleet just now; nothing was done."""

    code, exit_code = "busy", 5


async def claim(connection: asyncpg.Connection, product: Product) -> bool:
    """Inserts or updates the product; returns whether it is new. Raises NotSimulated or FleetBeingMade."""
    if not await connection.fetchval(SQL["try_lock"]):
        raise FleetBeingMade
    is_new: bool | None = await connection.fetchval(
        SQL["claim_product"],
        *(product.id, product.slug, product.name, product.ping_interval_seconds, product.created_at),
        *(product.grace_seconds, product.lost_after_seconds, product.new_for_seconds),
    )
    if is_new is None:
        raise NotSimulated(f"The product {product.slug} is a real one; give the simulated one another name.")
    return is_new


async def remove_fleet(connection: asyncpg.Connection, product_id: ProductId) -> None:
    """Removes all rows of the product but its own, and the customers made for it."""
    for what in _REMOVED:
        await connection.execute(SQL[f"remove_{what}"], product_id, timeout=_HOURS_SECONDS)


async def make_room(connection: asyncpg.Connection) -> None:
    """Makes the temporary tables for pings and forks; they are dropped with the transaction."""
    for what in ("presents", "stretches", "usage", "rivals", "found_hostnames"):
        await connection.execute(SQL[f"temporary_{what}"])


async def write_over_connections(connection: asyncpg.Connection) -> None:
    """First in the transaction of a fleet: on a cluster, it writes to all kinds of tables."""
    await connection.execute(SQL["write_over_connections"])


async def other_products(connection: asyncpg.Connection, product_id: ProductId) -> dict[ProductId, str]:
    """The slugs of all other products, by id."""
    rows = await connection.fetch(SQL["other_products"], product_id)
    return {ProductId(UUID(bytes=row["product_id"].bytes)): row["slug"] for row in rows}


async def copy_in(connection: asyncpg.Connection, batch: Batch) -> None:
    """Writes new rows, table by table."""
    for kind, table in TABLES.items():
        if rows := batch.get(kind):
            await connection.copy_to_table(
                table, source=_lines(rows), columns=rows[0]._fields, timeout=_HOURS_SECONDS
            )


async def make_pings(
    connection: asyncpg.Connection,
    begin_ms: int,
    end_ms: int,
    *,
    interval_ms: int,
    jitter_ms: int,
    seed: int,
    numbers: Mapping[str, int | None],
    made: Callable[[int], object],
) -> None:
    """Makes the pings of all stretches in that time, and reports their number to `made` after each day.

    `numbers`: those of features.
    """
    await connection.execute(_MEMORY)
    await connection.execute(SQL["analyze_stretches"])
    numbered = {name: number for name, number in numbers.items() if number is not None}
    await connection.execute(SQL["number_features"], orjson.dumps(numbered).decode())
    days = list(_days(begin_ms, end_ms))
    fresh = sorted({_month(begin) for begin, _ in days} - set(await partition_months(connection)))
    tables = {month: await _fill_first(connection, month) for month in fresh}
    for begin, end in days:
        into = f'INSERT INTO "{tables.get(_month(begin), "pings")}"'
        done = await connection.execute(
            SQL["make_pings"].replace("INSERT INTO pings", into, 1),
            *(begin, end, interval_ms, jitter_ms, seed, USAGES),
            timeout=_HOURS_SECONDS,
        )
        made(int(done.split()[-1]))
    for month in fresh:
        await _attach(connection, month)


async def _fill_first(connection: asyncpg.Connection, month: date) -> str:
    """Makes a table for the pings of a month without a partition; returns its name. `_attach` it when full.

    It is invisible until then, and without indexes, which are built faster from all rows at once.
    """
    name, start, end = PINGS.name(month), PINGS.bound(month), PINGS.bound(months_after(month, 1))
    await connection.execute(
        f'CREATE TABLE "{name}" (LIKE pings INCLUDING CONSTRAINTS, CONSTRAINT {_BOUNDS}'
        f" CHECK (received_at IS NOT NULL AND received_at >= '{start}' AND received_at < '{end}'))"
    )
    return name


async def _attach(connection: asyncpg.Connection, month: date) -> None:
    """Attaches the table of `_fill_first` as the month's partition. Call it in a transaction.

    Waits minutes for readers of pings if necessary, and delays others by a second at most.
    Raises Unavailable.
    """
    name = PINGS.name(month)
    for [definition] in await connection.fetch(SQL["indexes_of_pings"]):
        _, using, columns = definition.partition(" USING ")
        await connection.execute(f'CREATE INDEX ON "{name}"{using}{columns}', timeout=_HOURS_SECONDS)
    for _ in range(_ATTEMPTS):
        with suppress(asyncpg.LockNotAvailableError):
            async with connection.transaction():
                await connection.execute(WAIT_A_MOMENT)
                await attach(connection, PINGS, month)
                await connection.execute(f'ALTER TABLE "{name}" DROP CONSTRAINT {_BOUNDS}')
            return
    raise Unavailable(f"The pings are being read all the time; the month {month:%Y-%m} could not be added.")


async def count_outcome(
    connection: asyncpg.Connection, product_id: ProductId, outcome: str, days: Mapping[date, int]
) -> None:
    """Counts pings with that outcome, by day."""
    counts = [(day, product_id, outcome, count) for day, count in days.items()]
    await connection.executemany(SQL["count_outcome"], counts)


async def finish(connection: asyncpg.Connection, begin: datetime) -> None:
    """Writes present facts, forks, hostnames and statistics; moves the roll-ups' watermark back to `begin`.

    Waits for a running roll-up, which would move its watermark forward.
    """
    await connection.execute(_MAKE_FACTS, timeout=_HOURS_SECONDS)
    await connection.execute(SQL["make_forks"], timeout=_HOURS_SECONDS)
    await connection.execute(SQL["make_hostnames"])
    for table in ("installations", "installation_facts", "states", "changes", "licenses", "license_keys"):
        await connection.execute(f"ANALYZE {table}", timeout=_HOURS_SECONDS)
    await connection.execute("ANALYZE pings", timeout=_HOURS_SECONDS)
    await connection.execute(SQL["keep_out"], lock_number(JobName.ROLL_UP_PINGS), timeout=_HOURS_SECONDS)
    await connection.execute(SQL["look_back"], JobName.ROLL_UP_PINGS, begin)


def _days(begin_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """The time split into days (UTC)."""
    while begin_ms < end_ms:
        midnight = (begin_ms // _DAY_MS + 1) * _DAY_MS
        yield begin_ms, min(midnight, end_ms)
        begin_ms = midnight


def _month(moment_ms: int) -> date:
    return (_EPOCH + timedelta(milliseconds=moment_ms)).date().replace(day=1)


# ── COPY's text format ──────────────────────────────────────────────────────────────────────


async def _lines(rows: Sequence[Row]) -> AsyncIterator[bytes]:
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        yield "".join(map(_line, rows[first : first + _ROWS_AT_ONCE])).encode()


def _line(row: Row) -> str:
    return "\t".join([_AS_TEXT[type(value)](value) for value in row]) + "\n"


def _text(value: str) -> str:
    if "\\" in value or "\t" in value or "\n" in value or "\r" in value:
        return value.translate(_ESCAPES)
    return value


def _array(values: Sequence[object]) -> str:
    """An array of numbers, or of words without quotes."""
    return "{" + ",".join(f'"{value}"' for value in values) + "}"


_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_AS_TEXT: Mapping[type, Callable[[Any], str]] = {
    type(None): lambda _: r"\N",
    str: _text,
    int: str,
    bool: lambda value: "t" if value else "f",
    bytes: lambda value: r"\\x" + value.hex(),
    UUID: lambda value: f"{value.int:032x}",
    datetime: datetime.isoformat,
    date: date.isoformat,
    tuple: _array,
    Verdict: str,
    Lifecycle: str,
    LicenseStatus: str,
    LicenseType: str,
}
