"""Applies the shop's messages to the registry, each message once, in any order."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from telemetry_server.check.licenses.cells import LONGEST_KEY
from telemetry_server.check.licenses.cells import key as license_key
from telemetry_server.check.licenses.columns import license_patch
from telemetry_server.errors import FieldProblem, Unprocessable
from telemetry_server.keyring import Keyring
from telemetry_server.model import STATUS_AFTER, Author, LicensePatch, LicenseRow, ShopMessage
from telemetry_server.store.database import Acquire, Connection, translated
from telemetry_server.store.queries import load
from telemetry_server.store.registry.customers import customers_by_id
from telemetry_server.store.registry.history import ChangeOutcome, Entity, lock, note
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.licenses import KeyHashes, key_hashes, licenses_by_key_hash
from telemetry_server.store.registry.products import NoSuchProduct
from telemetry_server.store.registry.shop_order import KnownLicense, Said, Timely, all_of, timely

SQL = load(__name__)

ACTOR = "webhook:shop"
_LONGEST_REASON = 1_000


class Shop:
    """Applies messages, each in one transaction with the record that it was applied."""

    def __init__(self, acquire: Acquire, keyring: Keyring) -> None:
        self._acquire = acquire
        self._keyring = keyring

    async def carry_out(self, message: ShopMessage, now: datetime) -> None:
        """Applies the message once, except fields for which a later message holds.

        The license's history has every message, also one that changes nothing. Raises Unprocessable or
        Unavailable.
        """
        slug, key, patch = _read(message)
        async with translated(), self._acquire() as connection, connection.transaction():
            await lock(connection)
            if await connection.fetchval(SQL["note_delivery"], message.id, now) is not None:
                await self._keep(connection, message, (slug, key, patch), now)

    async def _keep(
        self, connection: Connection, message: ShopMessage, said: tuple[str, str, LicensePatch], now: datetime
    ) -> None:
        slug, key, patch = said
        try:
            hashes = await key_hashes(connection, self._keyring, slug)
        except NoSuchProduct as error:
            raise Unprocessable(problems=[FieldProblem("/data/product", error.detail)]) from None
        part = await _timely(connection, hashes, message, (key, patch))
        reason = f"{message.type}, message {message.id}"
        if part.overtaken:
            reason += f"; later ones hold for {', '.join(part.overtaken)}"
        by = Author(ACTOR, reason[:_LONGEST_REASON])
        row = LicenseRow(1, key, None, part.patch)
        [kept] = (await keep_licenses(connection, hashes, [row], by=by, now=now)).rows
        if wrong := kept.problem:
            _refuse([FieldProblem(f"/{wrong.column}", wrong.detail)])
        assert kept.license_id is not None, "a row without problems has a license"
        if kept.outcome is ChangeOutcome.UNCHANGED:
            await note(connection, Entity.LICENSE, kept.license_id, by, now)
        fields = list(part.fields)
        await connection.execute(SQL["keep_said"], kept.license_id, fields, message.happened_at, message.id)


async def forget_deliveries(connection: Connection, before: datetime) -> int:
    """Deletes the ids of messages received before then; returns their number."""
    return int(await connection.fetchval(SQL["forget_deliveries"], before))


async def _timely(
    connection: Connection, hashes: KeyHashes, message: ShopMessage, said: tuple[str, LicensePatch]
) -> Timely:
    """The part of the message that no later message contradicts."""
    key, patch = said
    own = hashes.own(key)
    found = (await licenses_by_key_hash(connection, [own])).get(own)
    if found is None:
        return all_of(patch)
    owner = found.customer_id
    customers = await customers_by_id(connection, [] if owner is None else [owner])
    rows = await connection.fetch(SQL["said_of_license"], found.license_id)
    known = KnownLicense(
        found,
        None if owner is None else customers[owner],
        {row["field"]: Said(row["happened_at"], row["webhook_id"]) for row in rows},
        await connection.fetchval(SQL["status_set_elsewhere"], str(found.license_id), ACTOR),
    )
    return timely(patch, message, known)


def _read(message: ShopMessage) -> tuple[str, str, LicensePatch]:
    data = dict(message.data)
    slug, key = data.pop("product", None), data.pop("key", None)
    patch, problems = license_patch(data)
    if not isinstance(slug, str):
        problems.append(FieldProblem("/product", "must be the slug of a product"))
    try:
        key = license_key(key)
    except ValueError as error:
        problems.append(FieldProblem("/key", f"{error}; a license key has 1 to {LONGEST_KEY} characters"))
    _refuse(problems)
    status = STATUS_AFTER[message.type]
    assert isinstance(slug, str)
    assert isinstance(key, str)
    return slug, key, patch if status is None else replace(patch, status=status)


def _refuse(problems: Sequence[FieldProblem]) -> None:
    if problems:
        shown = [FieldProblem(f"/data{problem.pointer}", problem.detail) for problem in problems]
        raise Unprocessable("The message is not valid; nothing was changed.", problems=shown)


async def deliveries(connection: Connection) -> dict[str, Any]:
    """The messages of the last 30 days: messages, their number, and last_received_at."""
    row = await connection.fetchrow(SQL["deliveries"])
    assert row is not None, "an aggregate has a row"
    return dict(row)
