"""Licenses. The database has no keys, only keyed hashes of their digests."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import orjson

from telemetry_server.check.filters.terms import EVERYTHING, Filter
from telemetry_server.errors import OperatorError
from telemetry_server.keyring import Keyring
from telemetry_server.model import (
    License,
    LicenseSource,
    LicenseStatus,
    LicenseType,
    Overage,
    Product,
    ProductId,
    Slug,
)
from telemetry_server.store.database import Connection
from telemetry_server.store.filtering import LICENSES, condition
from telemetry_server.store.queries import fill, load
from telemetry_server.store.registry.products import all_products, product_by_slug
from telemetry_server.uuid7 import LOWEST

SQL = load(__name__)


class NoSuchLicense(OperatorError):
    """There is no such license; "license list" shows all."""

    status, code = 404, "no_such_license"


class LicenseExists(OperatorError):
    """A license of that key exists already; "license show --key" finds it, "license change" changes it."""

    status, code = 409, "license_exists"


class WrongLicense(OperatorError):
    """The values of the license are not valid."""

    status, code = 422, "wrong_license"


@dataclass(frozen=True, slots=True)
class KeyHashes:
    """Hashes license keys of a product: under its own slug, and under those of the other products."""

    keyring: Keyring
    product: Product
    others: tuple[Product, ...]

    def own(self, key: str) -> bytes:
        return self.keyring.hash_of_key(self.product.slug, key)

    def other(self, key: str) -> list[tuple[bytes, ProductId]]:
        return [(self.keyring.hash_of_key(other.slug, key), other.id) for other in self.others]


async def key_hashes(connection: Connection, keyring: Keyring, slug: str) -> KeyHashes:
    """For licenses of the product of that slug. Raises NoSuchProduct."""
    product = await product_by_slug(connection, slug)
    others = [other for other in await all_products(connection) if other.id != product.id]
    return KeyHashes(keyring, product, tuple(others))


# ── reading ─────────────────────────────────────────────────────────────────────────────────


async def license_by_id(connection: Connection, license_id: UUID) -> License:
    """Raises NoSuchLicense."""
    found = await licenses_by_id(connection, [license_id])
    if not found:
        raise NoSuchLicense(f'There is no license {license_id}; "license list" shows all.')
    return found[license_id]


async def licenses_by_id(connection: Connection, license_ids: Collection[UUID]) -> dict[UUID, License]:
    """The existing ones of these licenses."""
    rows = await connection.fetch(SQL["licenses_by_id"], list(license_ids)) if license_ids else []
    return {each.license_id: each for each in map(_license, rows)}


async def licenses_by_key_hash(connection: Connection, hashes: Collection[bytes]) -> dict[bytes, License]:
    """The existing ones of these licenses, by the hash of the key under the slug of the license's product."""
    rows = await connection.fetch(SQL["licenses_by_key_hash"], list(hashes)) if hashes else []
    return {each.key_hash: each for each in map(_license, rows)}


async def list_licenses(
    connection: Connection,
    wanted: Filter = EVERYTHING,
    *,
    now: datetime,
    after: UUID = LOWEST,
    limit: int = 100,
) -> list[License]:
    """At most `limit` licenses after that id, in the order of their creation. Raises BadFilter."""
    asked = await condition(connection, wanted, LICENSES, now=now, first=3)
    rows = await connection.fetch(fill(SQL["licenses_listed"], filter=asked.sql), after, limit, *asked.values)
    return [_license(row) for row in rows]


# ── the hashes of keys ──────────────────────────────────────────────────────────────────────


async def short_of_keys(connection: Connection, license_ids: Sequence[UUID], products: int) -> set[UUID]:
    """Licenses with fewer key hashes than `products`: a product was added after them."""
    if not license_ids:
        return set()
    rows = await connection.fetch(SQL["licenses_short_of_keys"], license_ids, products)
    return {row["license_id"] for row in rows}


async def write_keys(
    connection: Connection, hashes: KeyHashes, keys: Iterable[tuple[str, bytes, UUID]]
) -> None:
    """Writes the hashes of keys (key, own hash, license) under every slug; marks their licenses stale."""
    keys = list(keys)
    if not keys:
        return
    own, owners = [own for _, own, _ in keys], [owner for _, _, owner in keys]
    await connection.execute(SQL["add_own_keys"], own, owners, hashes.product.id)
    others = [(other, owner, product) for key, _, owner in keys for other, product in hashes.other(key)]
    if others:
        rows = await connection.fetch(SQL["add_other_keys"], *map(list, zip(*others, strict=True)))
        await connection.execute(SQL["mark_stale"], [row["license_id"] for row in rows])


def _license(row: asyncpg.Record) -> License:
    return License(
        **{
            **row,
            "product": Slug(row["product"]),
            "status": LicenseStatus(row["status"]),
            "type": LicenseType(row["type"]),
            "source": row["source"] and LicenseSource(row["source"]),
            "overage": Overage(row["overage"]),
            "domains": tuple(row["domains"]),
            "addresses": tuple(map(str, row["addresses"])),
            "directories": tuple(row["directories"]),
            "free_environments": tuple(row["free_environments"]),
            "custom": orjson.loads(row["custom"]),
        }
    )
