"""The numbers of features, and the counters of a ping as bytes.

Each name is written once, with a number, and a ping only has numbers: a tenth of the bytes. Names that have
none yet get theirs in a statement of their own before the group is written, so that no lock is held and no
ping waits for another process. Where copies invent names without end, MOST_NAMES of their product get
numbers; the others are written as names.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Final
from uuid import UUID

import asyncpg

from telemetry_server.model import SignedUpload
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

MOST_NAMES: Final = 4_000
"""Of a product. There are 32,768 numbers."""
MOST_USES: Final = 2**31 - 1
"""More stay beside the name, as they do in the roll-up by installation and day."""
NONE: Final = b"\x11"
"""The counters of a ping that counts and used nothing."""
_ATTEMPTS = 10
_ONE_BYTE, _TWO_BYTES = 0xFF, 0xFFFF
_LETTERS = {1: "B", 2: "H", 4: "I"}


async def number_names(
    connection: Connection, product_id: UUID, names: Collection[str]
) -> dict[str, int | None]:
    """The numbers of these names; new names get one. None: the product has too many.

    A name is missing that another process is adding at the moment.
    """
    found: dict[str, int | None] = {}
    for _ in range(_ATTEMPTS):
        found = dict(await connection.fetch(SQL["number_names"], product_id, list(names), MOST_NAMES))
        if len(found) == len(names):
            break
    return found


class FeatureNames:
    """The numbers as one connection knows them.

    They are those of `generation`: of a database that was restored meanwhile it is another one, and names may
    have other numbers. The statement that writes pings checks it.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.generation = ""
        self._full: set[UUID] = set()

    async def load(self, connection: Connection) -> None:
        """Reads all numbers."""
        self.generation = await connection.fetchval(SQL["generation"])
        self.numbers = dict(await connection.fetch(SQL["all_names"]))
        self._full.clear()

    async def are_of(self, connection: Connection) -> bool:
        """Whether a cluster has still the numbers of this generation.

        Raises ReadOnlySQLTransactionError where the coordinator must not write, of which nodes know nothing.
        """
        row = await connection.fetchrow(SQL["generation_to_write"])
        if row["read_only"]:
            raise asyncpg.ReadOnlySQLTransactionError("the coordinator is read-only")
        return bool(row["generation"] == self.generation)

    async def add(self, connection: Connection, uploads: Iterable[SignedUpload]) -> None:
        """Gives numbers to the names in these uploads that have none; not within a transaction."""
        known = self.numbers.keys()
        for upload in uploads:
            if upload.product_id in self._full:
                continue
            used = [
                ping.features for ping in upload.pings if ping.features and not known >= ping.features.keys()
            ]
            if new := set().union(*used) - known:
                numbers = await number_names(connection, upload.product_id, sorted(new))
                self.numbers |= {name: number for name, number in numbers.items() if number is not None}
                if None in numbers.values():
                    self._full.add(upload.product_id)


def counters_of(
    features: Mapping[str, int], numbers: Mapping[str, int]
) -> tuple[bytes, dict[str, int] | None]:
    """The counters as the function `counted` of PostgreSQL reads them, and those that have no place there."""
    if not features:
        return NONE, None
    most = max(features.values())
    if most > MOST_USES or not numbers.keys() >= features.keys():
        rest = {name: uses for name, uses in features.items() if name not in numbers or uses > MOST_USES}
        return counters_of({name: features[name] for name in features.keys() - rest}, numbers)[0], rest
    named = [numbers[name] for name in features]
    wide = 1 if max(named) <= _ONE_BYTE else 2
    width = 1 if most <= _ONE_BYTE else 2 if most <= _TWO_BYTES else 4
    return _packer(len(named), wide, width)(wide << 4 | width, *named, *features.values()), None


@lru_cache(1_000)
def _packer(count: int, wide: int, width: int) -> Callable[..., bytes]:
    return Struct(f">B{count}{_LETTERS[wide]}{count}{_LETTERS[width]}").pack
