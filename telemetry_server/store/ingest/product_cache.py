"""The products, cached by each server process: every upload needs one."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from telemetry_server.errors import Unavailable
from telemetry_server.model import Product
from telemetry_server.store.database import Pool, translated
from telemetry_server.store.registry.products import all_products, product_by_key

_KEY_SECONDS = 30
_MOST_KEYS = 10_000


class ProductCache:
    """All products by slug, as of the last refresh; product keys as of the last half minute."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._read = False
        self._by_slug: dict[str, Product] = {}
        self._by_key: dict[str, tuple[float, Product]] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Reads the products before the first request; while PostgreSQL is away, later."""
        with suppress(Unavailable):
            await self.refresh()
        yield

    async def refresh(self) -> None:
        """Reads the products again; a chore calls this every few seconds."""
        async with translated(), self._pool.acquire(timeout=5) as connection:
            self._by_slug = {product.slug: product for product in await all_products(connection)}
        self._read = True

    def find(self, slug: str) -> Product | None:
        """The product of that slug. Raises Unavailable until the products were read once."""
        product = self._by_slug.get(slug)
        if product is None and not self._read:
            raise Unavailable
        return product

    async def find_by_key(self, key: str) -> Product | None:
        """The product of a valid product key; None: the key is unknown or revoked. Raises Unavailable."""
        now = self._clock()
        if (known := self._by_key.get(key)) and now - known[0] < _KEY_SECONDS:
            return known[1]
        async with translated(), self._pool.acquire(timeout=5) as connection:
            product = await product_by_key(connection, key)
        if product is not None:
            self._by_slug.setdefault(product.slug, product)
            if len(self._by_key) >= _MOST_KEYS:
                self._by_key.clear()
            self._by_key[key] = (now, product)
        return product
