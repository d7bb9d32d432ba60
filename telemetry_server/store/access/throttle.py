"""Rate limits of failed sign-ins, by the generic cell rate algorithm, for all workers and servers.

A refused attempt is not charged, so a limit frees up again however often someone tries. No account is ever
locked: of one account, each network has a limit, and all networks together have a wider one. A browser that
has signed in to the account before has a limit of its own, which strangers cannot use up.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from telemetry_server.errors import TooManyRequests
from telemetry_server.store.access.credentials import Database
from telemetry_server.store.database import translated
from telemetry_server.store.queries import load

SQL = load(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """`count` attempts at once, then one per `every`."""

    count: int
    every: timedelta

    @property
    def burst(self) -> timedelta:
        return self.count * self.every


OF_ACCOUNT_AND_NETWORK = Limit(10, timedelta(minutes=1))
OF_ACCOUNT = Limit(100, timedelta(seconds=20))
OF_NETWORK = Limit(100, timedelta(seconds=10))
OF_FLOWS = Limit(60, timedelta(seconds=1))  # sign-ins that a network begins by provider or passkey
OF_REFUSALS = Limit(60, timedelta(seconds=10))  # answers that came from no provider and no passkey
OF_ALL_REFUSALS = Limit(1_000, timedelta(seconds=5))  # of all networks: one party may have many
OF_WITNESS = Limit(5, timedelta(hours=1))  # entries about a log that contradicts what its witness has
OF_CODES = Limit(10, timedelta(minutes=15))  # a hundred guesses of a million a day


@dataclass(frozen=True, slots=True)
class Bucket:
    """A limit of one party."""

    limit: Limit
    name: str

    @property
    def digest(self) -> bytes:
        return sha256(f"{self.limit}\n{self.name}".encode("utf-8", "surrogatepass")).digest()


def buckets(email: str, network: str | None, *, known_browser: bool) -> list[Bucket]:
    """The limits of a sign-in to the account of `email`, which need not exist, from a network."""
    if known_browser:
        return [Bucket(OF_ACCOUNT_AND_NETWORK, f"{email}\nknown browser")]
    return [
        Bucket(OF_ACCOUNT_AND_NETWORK, f"{email}\n{network}"),
        Bucket(OF_NETWORK, str(network)),
        Bucket(OF_ACCOUNT, email),
    ]


async def admit(database: Database, asked: list[Bucket], now: datetime) -> None:
    """Charges each bucket for one attempt. Raises TooManyRequests with Retry-After, having charged none."""
    charged: list[Bucket] = []
    async with translated():
        for bucket in asked:
            limit = bucket.limit
            admitted = await database.fetchval(SQL["admit"], bucket.digest, now, limit.every, limit.burst)
            if admitted is None:
                await give_back(database, charged)
                free_at = await database.fetchval(SQL["free_at"], bucket.digest) or now
                wait = (free_at + limit.every - limit.burst - now).total_seconds()
                raise TooManyRequests(
                    "Too many failed sign-ins; wait a moment.", retry_after=max(1, math.ceil(wait))
                )
            charged.append(bucket)


async def give_back(database: Database, charged: list[Bucket]) -> None:
    """Takes back one attempt of each: the sign-in was right."""
    async with translated():
        for bucket in charged:
            await database.execute(SQL["give_back"], bucket.digest, bucket.limit.every)


async def forget_attempts(database: Database, now: datetime) -> None:
    async with translated():
        await database.execute(SQL["forget_attempts"], now)
