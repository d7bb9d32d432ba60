"""Changes of licenses: any number of rows in one transaction, each with its history.

Commands, API and the shop's webhook all use `keep_licenses`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from telemetry_server.errors import FieldProblem
from telemetry_server.model import Author, CustomerPatch, License, LicensePatch, LicenseRow
from telemetry_server.store.database import Connection
from telemetry_server.store.json_rows import as_json
from telemetry_server.store.registry import history
from telemetry_server.store.registry.customers import (
    customers_by_account,
    customers_by_email,
    customers_by_id,
    write_customers,
)
from telemetry_server.store.registry.history import ChangeOutcome
from telemetry_server.store.registry.license_plan import Batch, Identity, Kept, Plan, hint_of
from telemetry_server.store.registry.licenses import (
    SQL,
    KeyHashes,
    LicenseExists,
    WrongLicense,
    license_by_id,
    licenses_by_id,
    licenses_by_key_hash,
    short_of_keys,
    write_keys,
)
from telemetry_server.store.visible import refusing_hidden


async def create_license(
    connection: Connection, hashes: KeyHashes, key: str, patch: LicensePatch, *, by: Author, now: datetime
) -> License:
    """A new license. Raises LicenseExists or WrongLicense."""
    async with connection.transaction():
        await history.lock(connection)
        if await licenses_by_key_hash(connection, [hashes.own(key)]):
            raise LicenseExists
        batch = await keep_licenses(connection, hashes, [LicenseRow(1, key, None, patch)], by=by, now=now)
        return await _license_of(connection, batch.rows[0])


async def change_license(
    connection: Connection, license_id: UUID, patch: LicensePatch, *, by: Author, now: datetime
) -> tuple[Kept, License]:
    """What changed, and the changed license. Raises NoSuchLicense or WrongLicense."""
    async with connection.transaction():
        await history.lock(connection)
        found = await license_by_id(connection, license_id)
        row = LicenseRow(1, None, license_id, patch)
        plan, [kept] = await _plan(connection, {license_id: found}, [(row, license_id)], found.time_zone)
        await _write(connection, plan, by=by, now=now)
        return kept, await _license_of(connection, kept)


async def keep_licenses(
    connection: Connection,
    hashes: KeyHashes,
    rows: Sequence[LicenseRow],
    *,
    by: Author,
    now: datetime,
    dry_run: bool = False,
) -> Batch:
    """The result of each row, in their order: the valid ones are written, all in one transaction.

    A row with a key creates a license of the product or changes the existing one; a row with an id changes
    one. Two rows about one license must be equal. `dry_run` writes nothing.
    """
    async with connection.transaction():
        if not dry_run:
            await history.lock(connection)
        identified = [(row, _identity(row, hashes)) for row in rows]
        found = await _licenses(connection, hashes, [identity for _, identity in identified])
        plan, kept = await _plan(connection, found, identified, hashes.product.time_zone)
        if not dry_run:
            keys = {identity: row.key for row, identity in identified if row.key is not None}
            await _write(connection, plan, by=by, now=now, hashes=hashes, keys=keys)
        customers = [each for each in plan.customers.values() if each.outcome is not ChangeOutcome.UNCHANGED]
        return Batch(kept, customers)


async def _licenses(
    connection: Connection, hashes: KeyHashes, identities: Sequence[Identity]
) -> dict[Identity, License]:
    by_hash = await licenses_by_key_hash(connection, [each for each in identities if isinstance(each, bytes)])
    by_id = await licenses_by_id(connection, [each for each in identities if isinstance(each, UUID)])
    found: dict[Identity, License] = {each.key_hash: each for each in by_hash.values()}
    for each in by_id.values():
        if each.product_id == hashes.product.id:
            found[each.license_id] = each
    return found


async def _plan(
    connection: Connection,
    found: Mapping[Identity, License],
    identified: Sequence[tuple[LicenseRow, Identity]],
    time_zone: str,
) -> tuple[Plan, list[Kept]]:
    patches = [row.patch for row, _ in identified]
    described = [patch.customer for patch in patches if isinstance(patch.customer, CustomerPatch)]
    emails = {customer.email for customer in described if isinstance(customer.email, str)}
    accounts = {customer.account for customer in described if isinstance(customer.account, str)}
    ids = {patch.customer_id for patch in patches if isinstance(patch.customer_id, UUID)}
    if len(emails) < len(described):
        ids |= {each.customer_id for each in found.values() if each.customer_id is not None}
    by_email = await customers_by_email(connection, emails)
    by_account = await customers_by_account(connection, accounts)
    by_id = await customers_by_id(connection, ids)
    plan = Plan(found, by_email, by_account, by_id, time_zone)
    return plan, [plan.take(row, identity) for row, identity in identified]


async def _write(
    connection: Connection,
    plan: Plan,
    *,
    by: Author,
    now: datetime,
    hashes: KeyHashes | None = None,
    keys: Mapping[Identity, str] | None = None,
) -> None:
    await write_customers(connection, list(plan.customers.values()), by=by, now=now)
    drafts = list(plan.licenses.values())
    if changed := [draft for draft in drafts if draft.outcome is ChangeOutcome.CHANGED]:
        rows = [{"license_id": draft.uuid, **draft.fields} for draft in changed]
        await connection.execute(SQL["change_licenses"], as_json(rows), now)
    if hashes is not None and keys:
        added = [
            {
                "license_id": draft.uuid,
                "key_hash": identity,
                "key_hint": hint_of(keys[identity]),
                **draft.fields,
            }
            for identity, draft in plan.licenses.items()
            if draft.outcome is ChangeOutcome.NEW
        ]
        if added:
            with refusing_hidden():
                await connection.execute(SQL["add_licenses"], as_json(added), now, hashes.product.id)
        await _write_keys(connection, plan, hashes, keys)
    await history.record(connection, drafts, by, now)


async def _write_keys(
    connection: Connection, plan: Plan, hashes: KeyHashes, keys: Mapping[Identity, str]
) -> None:
    """Writes the hashes of new keys, and of those that are older than one of the products."""
    present = [draft.uuid for draft in plan.licenses.values() if draft.was is not None]
    short = await short_of_keys(connection, present, 1 + len(hashes.others))
    await write_keys(
        connection,
        hashes,
        [
            (keys[identity], identity, draft.uuid)
            for identity, draft in plan.licenses.items()
            if isinstance(identity, bytes) and (draft.was is None or draft.uuid in short)
        ],
    )


def _identity(row: LicenseRow, hashes: KeyHashes) -> Identity:
    if row.key is not None:
        return hashes.own(row.key)
    assert row.license_id is not None, "check/ gives every row a key or an id"
    return row.license_id


async def _license_of(connection: Connection, kept: Kept) -> License:
    if wrong := kept.problem:
        raise WrongLicense(wrong.detail, problems=[FieldProblem(f"/{wrong.column}", wrong.detail)])
    assert kept.license_id is not None
    return await license_by_id(connection, kept.license_id)
