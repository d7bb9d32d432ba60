"""What the shop's messages do to the registry, each message once."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg

from telemetry_server.check.licenses import LONGEST_KEY, license_patch
from telemetry_server.errors import FieldProblem, Unprocessable
from telemetry_server.keyring import Keyring
from telemetry_server.model import Author, LicensePatch, LicenseRow, LicenseStatus, ShopMessage
from telemetry_server.store.database import Acquire, translated
from telemetry_server.store.license_changes import keep_licenses
from telemetry_server.store.licenses import key_hashes
from telemetry_server.store.products import NoSuchProduct
from telemetry_server.store.queries import load
from telemetry_server.store.registry import lock

SQL = load("shop")

STATUS_AFTER: Mapping[str, LicenseStatus | None] = {
    "license.created": None,
    "license.updated": None,
    "license.suspended": LicenseStatus.SUSPENDED,
    "license.reinstated": LicenseStatus.ACTIVE,
    "license.revoked": LicenseStatus.REVOKED,
    "license.refunded": LicenseStatus.REFUNDED,
}
"""The types of messages that are carried out, and the status each leaves a license in; None: as data says."""


class Shop:
    """Carries out messages, each in one transaction with the note that it was."""

    def __init__(self, acquire: Acquire, keyring: Keyring) -> None:
        self._acquire = acquire
        self._keyring = keyring

    async def carry_out(self, message: ShopMessage, now: datetime) -> None:
        """Does what the message says, unless it came before, or a later one about the same license did.

        Raises Unprocessable or Unavailable.

        A message of another type is none of ours: it is taken and does nothing.
        """
        if message.type not in STATUS_AFTER:
            return
        slug, key, patch = _read(message)
        async with translated(), self._acquire() as connection, connection.transaction():
            await lock(connection)
            noted = (message.id, now, self._keyring.hash_of_key(slug, key), message.happened_at)
            if await connection.fetchval(SQL["note_delivery"], *noted) is not None:
                await self._keep(connection, message, (slug, key, patch), now)

    async def _keep(
        self,
        connection: asyncpg.Connection,
        message: ShopMessage,
        said: tuple[str, str, LicensePatch],
        now: datetime,
    ) -> None:
        slug, key, patch = said
        try:
            hashes = await key_hashes(connection, self._keyring, slug)
        except NoSuchProduct as error:
            raise Unprocessable(problems=[FieldProblem("/data/product", error.detail)]) from None
        by = Author("webhook:shop", f"{message.type}, message {message.id}")
        batch = await keep_licenses(connection, hashes, [LicenseRow(1, key, None, patch)], by=by, now=now)
        _refuse(batch.rows[0].problems)


async def forget_deliveries(connection: asyncpg.Connection, before: datetime) -> int:
    """Removes the ids of messages received before then; gives how many."""
    count: int = await connection.fetchval(SQL["forget_deliveries"], before)
    return count


def _read(message: ShopMessage) -> tuple[str, str, LicensePatch]:
    data = dict(message.data)
    slug, key = data.pop("product", None), data.pop("key", None)
    patch, problems = license_patch(data)
    if not isinstance(slug, str):
        problems.append(FieldProblem("/product", "must be the slug of a product"))
    if not isinstance(key, str) or not 1 <= len(key.strip()) <= LONGEST_KEY or "\0" in key:
        problems.append(FieldProblem("/key", f"must be a license key of 1 to {LONGEST_KEY} characters"))
    _refuse(problems)
    status = STATUS_AFTER[message.type]
    assert isinstance(slug, str)
    assert isinstance(key, str)
    return slug, key, patch if status is None else replace(patch, status=status)


def _refuse(problems: Any) -> None:
    if problems:
        shown = [FieldProblem(f"/data{problem.pointer}", problem.detail) for problem in problems]
        raise Unprocessable("The message says what cannot be; nothing was changed.", problems=shown)
