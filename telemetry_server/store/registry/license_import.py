"""An import of any number of rows, chunk by chunk: each chunk is a transaction, and memory is bounded.

An import that was interrupted anywhere is finished by importing the same file again: what is there
already is unchanged. Two rows about one license must say the same, however far apart they stand. What
rows say of one customer is taken from the first of them, so that they do not take turns at every import.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from secrets import token_bytes
from typing import TypeAlias

import asyncpg
from msgspec import UnsetType

from telemetry_server.check.licenses.lookalikes import looks
from telemetry_server.model import Author, CustomerPatch, LicenseRow
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.store.registry.history import ChangeOutcome, Draft
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.license_plan import Batch, Kept
from telemetry_server.store.registry.licenses import KeyHashes

SQL = load(__name__)

MOST_ROWS_IN_A_CHUNK = 5_000
ATTEMPTS = 5

Remembered: TypeAlias = dict[bytes, tuple[int, bytes]]
"""Of each subject the first line about it, and a digest of what that says."""


class Import:
    """One pass over a file; use `importing` to make one."""

    def __init__(self, connection: Connection, hashes: KeyHashes, *, by: Author, dry_run: bool) -> None:
        self._connection = connection
        self._hashes = hashes
        self._secret = token_bytes(32)  # so that nothing on disk can be tried against likely keys
        self._by = by
        self._dry_run = dry_run

    async def take(self, rows: Sequence[LicenseRow], *, now: datetime) -> Batch:
        """Keeps the good ones of these rows, all or, where PostgreSQL fails, none of them."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._connection.transaction():
                    return await self._take(rows, now)
            except asyncpg.DeadlockDetectedError:  # with a job that marks the same licenses as judged
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError

    async def _take(self, rows: Sequence[LicenseRow], now: datetime) -> Batch:
        if not rows:
            return Batch([], [])
        subjects = {row.line: self._subject(row) for row in rows}
        earlier = await self._earlier(rows, subjects)
        differing: list[int] = []
        fresh = [
            _without_a_known_customer(row, earlier, differing)
            for row in rows
            if row.follows or earlier[subjects[row.line]][0] == row.line
        ]
        batch = await keep_licenses(
            self._connection, self._hashes, fresh, by=self._by, now=now, dry_run=self._dry_run
        )
        kept = {each.line: each for each in batch.rows}
        for row in rows:
            if row.line not in kept:
                line, digest = earlier[subjects[row.line]]
                kept[row.line] = _repeated(row, line, digest == _digest(row.patch), kept.get(line))
        wrong = {each.line for each in batch.rows if each.outcome is ChangeOutcome.WRONG}
        await self._forget([subject for subject, (line, _) in earlier.items() if line in wrong])
        customers = [each for each in batch.customers if not self._is_told(each, earlier, rows[0].line)]
        alike = [
            (row.line, line)
            for row in rows
            if row.key is not None
            for line, subject in (earlier[self._looks(row.key)],)
            if subject != subjects[row.line]
        ]
        return Batch([kept[row.line] for row in rows], customers, differing, alike)

    async def _earlier(self, rows: Sequence[LicenseRow], subjects: dict[int, bytes]) -> Remembered:
        """Of each subject of these rows, the first line of the import about it."""
        told: Remembered = {}
        for row in rows:
            if row.key is not None:
                told.setdefault(self._looks(row.key), (row.line, subjects[row.line]))
            if row.follows:
                continue
            told.setdefault(subjects[row.line], (row.line, _digest(row.patch)))
            for name in _names(row.patch.customer):
                told.setdefault(_customer_subject(name), (row.line, _digest(row.patch.customer)))
        columns = (list(told), [line for line, _ in told.values()], [digest for _, digest in told.values()])
        known = await self._connection.fetch(SQL["remember_rows"], *columns)
        return told | {subject: (line, digest) for subject, line, digest in known}

    async def _forget(self, subjects: list[bytes]) -> None:
        """A wrong row says nothing: a later one about the same license or customer is the first of them."""
        if subjects:
            await self._connection.execute(SQL["forget_rows"], subjects)

    def _subject(self, row: LicenseRow) -> bytes:
        return self._hashes.own(row.key) if row.key is not None else f"license {row.license_id}".encode()

    def _looks(self, key: str) -> bytes:
        return b"looks " + blake2b(looks(key).encode(), key=self._secret, digest_size=16).digest()

    def _is_told(self, customer: Draft, earlier: Remembered, first_line: int) -> bool:
        """In a dry run a customer that an earlier chunk would have made is still new to this one."""
        who = customer.fields["email"] or customer.fields["account"]
        if not self._dry_run or customer.was is not None or who is None:
            return False
        return earlier[_customer_subject(who)][0] < first_line


@asynccontextmanager
async def importing(
    connection: Connection, hashes: KeyHashes, *, by: Author, dry_run: bool = False
) -> AsyncIterator[Import]:
    """A new pass over a file. The connection is for it alone while the block lasts."""
    await connection.execute(SQL["remember_import"])
    await connection.execute(SQL["forget_import"])
    # Tables that grow by a million rows between two ANALYZEs: every statement is planned as they are.
    await connection.execute("SELECT set_config('plan_cache_mode', 'force_custom_plan', false)")
    yield Import(connection, hashes, by=by, dry_run=dry_run)


def _repeated(row: LicenseRow, line: int, same: bool, first: Kept | None) -> Kept:
    if same and (first is None or first.outcome is not ChangeOutcome.WRONG):
        return Kept(row.line, ChangeOutcome.REPEATED, row.license_id)
    column = "key" if row.key is not None else "license_id"
    detail = f"line {line} is about the same license, and " + ("is wrong too" if same else "says otherwise")
    return Kept.wrong(row.line, column, detail)


def _without_a_known_customer(row: LicenseRow, earlier: Remembered, differing: list[int]) -> LicenseRow:
    """The row, only naming its customer where an earlier one describes them."""
    customer = row.patch.customer
    names = _names(customer)
    line, digest = min((earlier[_customer_subject(name)] for name in names), default=(row.line, b""))
    if line == row.line or not isinstance(customer, CustomerPatch):
        return row
    if digest != _digest(customer):
        differing.append(row.line)
    named = CustomerPatch(email=customer.email, account=customer.account)
    return replace(row, patch=replace(row.patch, customer=named))


def _names(customer: CustomerPatch | UnsetType | None) -> list[str]:
    """What tells the customer from others: the e-mail and the account."""
    if not isinstance(customer, CustomerPatch):
        return []
    return [name for name in (customer.email, customer.account) if isinstance(name, str)]


def _customer_subject(who: str) -> bytes:
    return b"customer " + blake2b(who.encode(), digest_size=16).digest()


def _digest(said: object) -> bytes:
    return blake2b(repr(said).encode(), digest_size=16).digest()
