"""Products and their keys."""

import re
import secrets
from datetime import datetime
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg

from telemetry_server.enrich.lifecycle import Schedule
from telemetry_server.errors import OperatorError
from telemetry_server.model import Author, Product, ProductId
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.store.registry import history

SQL = load(__name__)

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class ProductExists(OperatorError):
    """A product of that slug exists already; "product rotate-key" makes a new key for it."""


class NoSuchProduct(OperatorError):
    """There is no such product; "product list" shows all."""

    status, code = 404, "no_such_product"


class BadSchedule(OperatorError):
    """A copy that is lost has to be late first: --lost-after must exceed --interval and --grace together."""

    status, code = 422, "bad_schedule"


class BadSlug(OperatorError):
    """A slug has 1 to 63 of a-z, 0-9 and -, and does not begin with -."""


class BadTimeZone(OperatorError):
    """A time zone has an IANA name, such as Europe/Berlin, that Python and PostgreSQL both know."""


def slug_of(name: str) -> str:
    """The slug of a product's name: "Billing Suite 2" becomes billing-suite-2. Raises BadSlug."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63]
    if not _SLUG.fullmatch(slug):
        raise BadSlug(f"No slug can be made from {name!r}; give one with --slug.")
    return slug


async def add_product(
    connection: Connection,
    name: str,
    *,
    slug: str | None = None,
    interval_seconds: int = 86_400,
    grace_seconds: int = 86_400,
    lost_after_seconds: int = 2_592_000,
    new_for_seconds: int = 604_800,
    time_zone: str = "UTC",
    now: datetime,
) -> tuple[Product, str]:
    """A new product and its first key. Raises ProductExists, BadSlug, BadSchedule or BadTimeZone."""
    slug = slug or slug_of(name)
    if not _SLUG.fullmatch(slug):
        raise BadSlug
    await _check_time_zone(connection, time_zone)
    async with connection.transaction():
        row = await connection.fetchrow(
            SQL["add_product"],
            *(uuid4(), slug, name, now),
            *(interval_seconds, grace_seconds, lost_after_seconds, new_for_seconds, time_zone),
        )
        if row is None:
            raise ProductExists(
                f'A product {slug} exists already; "product rotate-key {slug}" makes a new key.'
            )
        product = _in_order(_product(row))
        return product, await _add_key(connection, product, now)


async def change_schedule(
    connection: Connection,
    slug: str,
    *,
    interval_seconds: int | None = None,
    grace_seconds: int | None = None,
    lost_after_seconds: int | None = None,
    new_for_seconds: int | None = None,
) -> Product:
    """The product with a changed schedule; None leaves a value as it is. Raises NoSuchProduct or BadSchedule.

    The job "watch deadlines" then checks all its installations again.
    """
    changed = interval_seconds, grace_seconds, lost_after_seconds, new_for_seconds
    async with connection.transaction():
        row = await connection.fetchrow(SQL["change_schedule"], slug, *changed)
        if row is None:
            raise NoSuchProduct(_no_such(slug))
        return _in_order(_product(row))


async def change_time_zone(
    connection: Connection, slug: str, time_zone: str, *, by: Author, now: datetime
) -> Product:
    """The product with another time zone for the dates of its licenses.

    Licenses that started or expired with a day of the old time zone do so with the same day of the new one.
    Raises NoSuchProduct or BadTimeZone.
    """
    await _check_time_zone(connection, time_zone)
    async with connection.transaction():
        await history.lock(connection)
        product = await product_by_slug(connection, slug)
        moved = product.time_zone, time_zone, now, by.actor, by.reason or f"the time zone is {time_zone}"
        await connection.execute(SQL["move_days"], product.id, *moved)
        return _product(await connection.fetchrow(SQL["change_time_zone"], product.id, time_zone))


async def _check_time_zone(connection: Connection, name: str) -> None:
    """Raises BadTimeZone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # an unknown name, or a path
        raise BadTimeZone(
            f"{name!r} is not a time zone; write its IANA name, such as Europe/Berlin."
        ) from None
    if not await connection.fetchval(SQL["knows_time_zone"], name):
        raise BadTimeZone(f"PostgreSQL does not know the time zone {name!r}; write its usual IANA name.")


async def rotate_key(
    connection: Connection, slug: str, *, keep_old: bool, now: datetime
) -> tuple[Product, str, int]:
    """A new key for the product, and the number of revoked old keys. Raises NoSuchProduct.

    Installed copies keep their secret; a key is needed only to enrol.
    """
    async with connection.transaction():
        product = await product_by_slug(connection, slug)
        key = await _add_key(connection, product, now)
        revoked = 0
        if not keep_old:
            revoked = await connection.fetchval(SQL["revoke_product_keys"], product.id, key, now)
        return product, key, revoked


async def product_by_slug(connection: Connection, slug: str) -> Product:
    """Raises NoSuchProduct."""
    row = await connection.fetchrow(SQL["product_by_slug"], slug)
    if row is None:
        raise NoSuchProduct(_no_such(slug))
    return _product(row)


async def all_products(connection: Connection) -> list[Product]:
    return [_product(row) for row in await connection.fetch(SQL["all_products"])]


async def good_keys(connection: Connection) -> dict[ProductId, list[str]]:
    """The valid keys of each product, the newest first."""
    keys: dict[ProductId, list[str]] = {}
    for row in await connection.fetch(SQL["good_product_keys"]):
        keys.setdefault(row["product_id"], []).append(row["product_key"])
    return keys


async def product_by_key(connection: Connection, key: str) -> Product | None:
    row = await connection.fetchrow(SQL["product_by_key"], key)
    return row and _product(row)


async def keep_parent(
    connection: Connection,
    *,
    installation_id: UUID,
    parent_id: UUID,
    product: Product,
    now: datetime,
    client_address: str | None,
) -> None:
    """Records that a forked copy has the new identity `installation_id`, unless its parent was erased."""
    if await connection.fetchval(SQL["is_erased"], parent_id):
        return
    await connection.execute(SQL["keep_parent"], installation_id, parent_id, product.id, now, client_address)


async def _add_key(connection: Connection, product: Product, now: datetime) -> str:
    key = f"pk_{product.slug}_{secrets.token_urlsafe(24)}"
    await connection.execute(SQL["add_product_key"], key, product.id, now)
    return key


def _product(row: asyncpg.Record) -> Product:
    found = dict(row)
    product_id = UUID(bytes=found.pop("product_id").bytes)  # not the driver's class: uploads have it in JSON
    return Product(id=ProductId(product_id), **found)


def _in_order(product: Product) -> Product:
    """The product itself. Raises BadSchedule."""
    schedule = Schedule.of(product)
    if schedule.lost_after <= schedule.late_after:
        raise BadSchedule(
            f"A copy that is lost has to be late first: --lost-after {product.lost_after_seconds}s must be "
            "longer than --interval and --grace together, which are "
            f"{schedule.late_after.total_seconds():.0f}s."
        )
    return product


def _no_such(slug: str) -> str:
    return f'There is no product {slug!r}; "product list" shows all.'
