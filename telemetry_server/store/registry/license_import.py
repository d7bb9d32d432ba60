"""Imports any number of rows in chunks: each chunk is a transaction, and memory is bounded.

After an interruption the same file is imported again: rows that are there already are unchanged. All rows of
a file about one license must be equal. The first row about a customer holds, so that rows that differ do not
overwrite each other at every import.
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
"""By subject: the first line about it, and a digest of its content."""


class Import:
    """One pass over a file; use `importing` to make one."""

    def __init__(self, connection: Connection, hashes: KeyHashes, *, by: Author, dry_run: bool) -> None:
        self._connection = connection
        self._hashes = hashes
        self._secret = token_bytes(32)  # so that likely keys cannot be tested against hashes on disk
        self._by = by
        self._dry_run = dry_run

    async def take(self, rows: Sequence[LicenseRow], *, now: datetime) -> Batch:
        """Writes the valid ones of these rows: all, or none where PostgreSQL fails."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._connection.transaction():
                    return await self._take(rows, now)
            except asyncpg.DeadlockDetectedError:  # with the job that marks the same licenses as judged
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
        customers = [each for each in batch.customers if not self._is_known(each, earlier, rows[0].line)]
        alike = [
            (row.line, line)
            for row in rows
            if row.key is not None
            for line, subject in (earlier[self._looks(row.key)],)
            if subject != subjects[row.line]
        ]
        return Batch([kept[row.line] for row in rows], customers, differing, alike)

    async def _earlier(self, rows: Sequence[LicenseRow], subjects: dict[int, bytes]) -> Remembered:
        """By subject of these rows: the first line of the import about it."""
        first: Remembered = {}
        for row in rows:
            if row.key is not None:
                first.setdefault(self._looks(row.key), (row.line, subjects[row.line]))
            if row.follows:
                continue
            first.setdefault(subjects[row.line], (row.line, _digest(row.patch)))
            for name in _names(row.patch.customer):
                first.setdefault(_customer_subject(name), (row.line, _digest(row.patch.customer)))
        columns = (
            list(first),
            [line for line, _ in first.values()],
            [digest for _, digest in first.values()],
        )
        known = await self._connection.fetch(SQL["remember_rows"], *columns)
        return first | {row["subject"]: (row["line"], row["digest"]) for row in known}

    async def _forget(self, subjects: list[bytes]) -> None:
        """Wrong rows do not count: the next one about the same license or customer becomes the first."""
        if subjects:
            await self._connection.execute(SQL["forget_rows"], subjects)

    def _subject(self, row: LicenseRow) -> bytes:
        return self._hashes.own(row.key) if row.key is not None else f"license {row.license_id}".encode()

    def _looks(self, key: str) -> bytes:
        return b"looks " + blake2b(looks(key).encode(), key=self._secret, digest_size=16).digest()

    def _is_known(self, customer: Draft, earlier: Remembered, first_line: int) -> bool:
        """Whether an earlier chunk of a dry run reported this new customer already."""
        who = customer.fields["email"] or customer.fields["account"]
        if not self._dry_run or customer.was is not None or who is None:
            return False
        return earlier[_customer_subject(who)][0] < first_line


@asynccontextmanager
async def importing(
    connection: Connection, hashes: KeyHashes, *, by: Author, dry_run: bool = False
) -> AsyncIterator[Import]:
    """A new pass over a file. Within the block only this pass may use the connection."""
    await connection.execute(SQL["remember_import"])
    await connection.execute(SQL["forget_import"])
    # Tables may grow by a million rows between two ANALYZEs: a generic plan would be out of date.
    await connection.execute("SELECT set_config('plan_cache_mode', 'force_custom_plan', false)")
    yield Import(connection, hashes, by=by, dry_run=dry_run)


def _repeated(row: LicenseRow, line: int, same: bool, first: Kept | None) -> Kept:
    if same and (first is None or first.outcome is not ChangeOutcome.WRONG):
        return Kept(row.line, ChangeOutcome.REPEATED, row.license_id)
    column = "key" if row.key is not None else "license_id"
    detail = f"line {line} is about the same license, and " + ("is wrong too" if same else "says otherwise")
    return Kept.wrong(row.line, column, detail)


def _without_a_known_customer(row: LicenseRow, earlier: Remembered, differing: list[int]) -> LicenseRow:
    """The row, with only the names of its customer if an earlier row describes the customer."""
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
    """The e-mail and the account, which identify the customer."""
    if not isinstance(customer, CustomerPatch):
        return []
    return [name for name in (customer.email, customer.account) if isinstance(name, str)]


def _customer_subject(who: str) -> bytes:
    return b"customer " + blake2b(who.encode(), digest_size=16).digest()


def _digest(said: object) -> bytes:
    return blake2b(repr(said).encode(), digest_size=16).digest()
