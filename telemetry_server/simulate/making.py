"""Makes a simulated fleet: from an order to the database and the ground truth."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any, Protocol
from uuid import UUID, uuid5

from telemetry_server.errors import OperatorError
from telemetry_server.keyring import Keyring
from telemetry_server.model import Product, ProductId, Slug
from telemetry_server.simulate import store
from telemetry_server.simulate.deals import Timespan
from telemetry_server.simulate.fleet import Batch, Fleet, interval_for
from telemetry_server.simulate.registry import HashOfKey
from telemetry_server.simulate.rows import Installation
from telemetry_server.simulate.tales import World
from telemetry_server.simulate.terms import Terms, milliseconds, moment
from telemetry_server.simulate.truth import WorldTruth
from telemetry_server.simulate.world import DAY, FEATURES, releases
from telemetry_server.simulate.world_fleet import WorldFleet, world_interval
from telemetry_server.store.database import Connection
from telemetry_server.store.ingest.feature_names import number_names
from telemetry_server.store.registry.products import slug_of

_SIMULATED = UUID("6f1d4c0e-8a55-4d0b-9d2f-51a0f1ee7a11")
_LONGEST_NEW, _LONGEST_LOST = 7 * DAY, 30 * DAY
_LONGEST_SLUG, _LONGEST_NAME = 55, 190
_SHORTEST_GUESS = 60_000
DEFAULT_MISUSE = 0.01
_QUIET_PERCENT = 110
"""Of the interval: each copy sends a ping in it, as the jitter is 8 percent."""


class AlreadyThere(OperatorError):
    """There is a simulated product of that name already; --replace makes it again."""

    code = "already_simulated"


class Progress(Protocol):
    """Called after each part of a step: `done` is its size, `whole` the size of the step."""

    def __call__(self, step: str, done: int, whole: int) -> object: ...


@dataclass(frozen=True, slots=True)
class Order:
    """The fleet to make: about `pings` pings in the `days` that end at `end`.

    With a world, it is made of that world's stories; `misuse` is the share of customers in those of misuse.
    """

    name: str
    installations: int
    pings: int
    days: int
    seed: int
    end: datetime
    replace: bool = False
    world: World | None = None
    misuse: float = DEFAULT_MISUSE

    @property
    def over(self) -> Timespan:
        return Timespan(milliseconds(self.end - timedelta(days=self.days)), milliseconds(self.end))


@dataclass(frozen=True, slots=True)
class Made:
    """The fleet that was made."""

    product: Product
    installations: int
    pings: int
    licenses: int
    customers: int
    begins_at: datetime
    ends_at: datetime
    planted: dict[str, list[Any]]
    duplicates: int
    forked: int
    truth: dict[str, list[Any]] = field(default_factory=dict)
    """Of a world: the entries of `misuse` and `honest`."""


async def make_fleet(connection: Connection, keyring: Keyring, order: Order, progress: Progress) -> Made:
    """Makes the product and its fleet, or nothing.

    Raises AlreadyThere, NotSimulated, FleetBeingMade, TooFewPings or BadSlug.
    """
    terms, product = _terms(keyring, order)
    # In the transaction, writers would wait for its end.
    numbers = await number_names(connection, product.id, FEATURES)
    async with connection.transaction():
        await store.write_over_connections(connection)
        await _clear(connection, product, order)
        sibling = _sibling(product)
        if order.world is not None:
            await store.claim(connection, sibling)
        others = await store.other_products(connection, product.id)
        elsewhere: dict[UUID, HashOfKey] = {
            other: partial(keyring.hash_of_key, slug) for other, slug in others.items()
        }
        fleet: Fleet | WorldFleet
        if order.world is None:
            fleet = Fleet(terms, product.slug, order.installations, elsewhere)
        else:
            given = (order.world, order.misuse, sibling.id)
            fleet = WorldFleet(terms, product.slug, order.installations, elsewhere, *given)
        await store.make_room(connection)
        await _write(connection, fleet.batches(), order.installations, progress)
        await store.make_pings(
            connection,
            *(terms.over.begin, terms.over.end),
            interval_ms=terms.interval,
            jitter_ms=terms.jitter,
            seed=terms.seed,
            numbers=numbers,
            made=lambda count: progress("pings", count, fleet.pings),
        )
        for outcome, days in (("duplicate", fleet.truth.duplicates), ("forked", fleet.truth.forked)):
            await store.count_outcome(connection, product.id, outcome, days)
        await store.finish(connection, moment(terms.over.begin))
    return _made(order, product, fleet)


async def _clear(connection: Connection, product: Product, order: Order) -> None:
    is_new = await store.claim(connection, product)
    if not is_new and not order.replace:
        raise AlreadyThere(f"There is a simulated product {product.slug} already; --replace makes it again.")
    if not is_new:
        await store.remove_fleet(connection, _sibling(product).id)
        await store.remove_fleet(connection, product.id)


async def _write(connection: Connection, batches: Iterator[Batch], whole: int, progress: Progress) -> None:
    """Writes the batches; a thread makes the next one meanwhile."""
    batch = next(batches, None)
    while batch is not None:
        following, _ = await asyncio.gather(
            asyncio.to_thread(next, batches, None), store.copy_in(connection, batch)
        )
        progress("installations", len(batch.get(Installation, ())), whole)
        batch = following


def _sibling(product: Product) -> Product:
    """Another product of the vendor, without installations; a story uses its licenses for this one."""
    slug = Slug(f"{product.slug[:_LONGEST_SLUG]}-sibling")
    return replace(product, id=_product_id(slug), slug=slug, name=f"{product.name[:_LONGEST_NAME]} sibling")


def _terms(keyring: Keyring, order: Order) -> tuple[Terms, Product]:
    if order.world is None:
        seed = _seed_of(slug_of(order.name), order.seed)
        interval = interval_for(seed, order.over, order.installations, order.pings)
        return _terms_of(keyring, order, interval)
    wanted = max(_SHORTEST_GUESS, order.over.length * order.installations // max(1, order.pings))
    guessed, _ = _terms_of(keyring, order, wanted)
    world = (order.world, order.misuse)
    return _terms_of(keyring, order, world_interval(*world, guessed, order.installations, order.pings))


def _terms_of(keyring: Keyring, order: Order, interval: int) -> tuple[Terms, Product]:
    over, slug = order.over, slug_of(order.name)
    seed = _seed_of(slug, order.seed)
    over = replace(over, quiet=interval * _QUIET_PERCENT // 100)
    lost_after = max(min(_LONGEST_LOST, over.length // 3), 4 * interval)
    new_for = min(_LONGEST_NEW, over.length // 10)
    product = Product(
        id=_product_id(slug),
        slug=Slug(slug),
        name=order.name,
        ping_interval_seconds=interval // 1000,
        created_at=moment(over.begin),
        grace_seconds=interval // 1000,
        lost_after_seconds=lost_after // 1000,
        new_for_seconds=new_for // 1000,
        simulated=True,
    )
    return (
        Terms(
            seed=seed,
            product_id=product.id,
            keys=f"{slug}-{order.seed}",
            over=over,
            interval=interval,
            grace=interval,
            lost_after=product.lost_after_seconds * 1000,
            new_for=product.new_for_seconds * 1000,
            releases=releases(over.begin, over.end),
            hash_of_key=partial(keyring.hash_of_key, slug),
            name_state=keyring.state_digest,
        ),
        product,
    )


def _seed_of(slug: str, seed: int) -> int:
    """A seed of 63 bits, for PostgreSQL, that differs between products of the same seed."""
    digest = blake2b(f"{slug} {seed}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _product_id(slug: str) -> ProductId:
    """The id of the product; it depends only on the slug, so that the same order makes the same rows."""
    return ProductId(uuid5(_SIMULATED, slug))


def _made(order: Order, product: Product, fleet: Fleet | WorldFleet) -> Made:
    truth = fleet.truth
    return Made(
        product=product,
        installations=order.installations,
        pings=fleet.pings,
        licenses=fleet.licenses,
        customers=fleet.customers,
        begins_at=moment(order.over.begin),
        ends_at=order.end,
        planted=truth.planted,
        duplicates=truth.duplicates.total(),
        forked=truth.forked.total(),
        truth={"misuse": truth.misuse, "honest": truth.honest} if isinstance(truth, WorldTruth) else {},
    )
