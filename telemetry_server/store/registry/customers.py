"""Customers: the owners of licenses. Personal data."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from msgspec import UNSET

from telemetry_server.check.filters.terms import EVERYTHING, Filter
from telemetry_server.check.licenses.cells import email as canonical
from telemetry_server.check.licenses.cells import in_unicode
from telemetry_server.errors import OperatorError
from telemetry_server.model import Author, Customer, CustomerPatch
from telemetry_server.store.database import Connection
from telemetry_server.store.filtering import CUSTOMERS, condition
from telemetry_server.store.json_rows import as_json
from telemetry_server.store.queries import fill, load
from telemetry_server.store.registry import history
from telemetry_server.store.registry.history import ChangeOutcome, Draft, Entity, Fields
from telemetry_server.store.visible import refusing_hidden
from telemetry_server.uuid7 import LOWEST, uuid7

SQL = load(__name__)

FIELDS = tuple(field.name for field in fields(CustomerPatch))
_NAMED_BY = ("email", "name", "company")


class NoSuchCustomer(OperatorError):
    """There is no such customer; "customer list" shows all."""

    status, code = 404, "no_such_customer"


class CustomerExists(OperatorError):
    """A customer of that e-mail or account exists already."""

    status, code = 409, "customer_exists"


class CustomerUnnamed(OperatorError):
    """A customer needs an e-mail, a name or a company."""

    status, code = 422, "customer_unnamed"


# ── reading ─────────────────────────────────────────────────────────────────────────────────


async def customer_by_id(connection: Connection, customer_id: UUID) -> Customer:
    """Raises NoSuchCustomer."""
    found = await customers_by_id(connection, [customer_id])
    if not found:
        raise NoSuchCustomer(f'There is no customer {customer_id}; "customer list" shows all.')
    return found[customer_id]


async def customers_by_id(connection: Connection, customer_ids: Collection[UUID]) -> dict[UUID, Customer]:
    """The existing ones of these customers."""
    found = await _customers(connection, "customers_by_id", customer_ids)
    return {customer.customer_id: customer for customer in found}


async def customers_by_email(connection: Connection, emails: Collection[str]) -> dict[str, Customer]:
    """The customers that have one of these e-mails, which check/ has put into their canonical form.

    The registry may hold a domain in Unicode, from a version that did not write it in ASCII.
    """
    found = await _customers(connection, "customers_by_email", {*emails, *map(in_unicode, emails)})
    found.sort(key=lambda customer: customer.email in emails)  # the ASCII form wins over the other
    return {_canonical(customer.email): customer for customer in found if customer.email}


async def customers_by_account(connection: Connection, accounts: Collection[str]) -> dict[str, Customer]:
    """The customers that have one of these accounts."""
    found = await _customers(connection, "customers_by_account", accounts)
    return {customer.account: customer for customer in found if customer.account}


async def _customers(
    connection: Connection, name: str, keys: Collection[UUID] | Collection[str]
) -> list[Customer]:
    return [_customer(row) for row in (await connection.fetch(SQL[name], list(keys)) if keys else ())]


async def list_customers(
    connection: Connection,
    wanted: Filter = EVERYTHING,
    *,
    now: datetime,
    after: UUID = LOWEST,
    limit: int = 100,
) -> list[Customer]:
    """At most `limit` customers after that id, in the order of their creation."""
    asked = await condition(connection, wanted, CUSTOMERS, now=now, first=3)
    statement = fill(SQL["customers_listed"], filter=asked.sql)
    rows = await connection.fetch(statement, after, limit, *asked.values)
    return [_customer(row) for row in rows]


# ── changing ────────────────────────────────────────────────────────────────────────────────


async def create_customer(
    connection: Connection, patch: CustomerPatch, *, by: Author, now: datetime
) -> Customer:
    """A new customer. Raises CustomerExists or CustomerUnnamed."""
    async with connection.transaction():
        await history.lock(connection)
        draft = draft_of(None, patch)
        await _check(connection, draft)
        await write_customers(connection, [draft], by=by, now=now)
        return await customer_by_id(connection, draft.uuid)


async def change_customer(
    connection: Connection, customer_id: UUID, patch: CustomerPatch, *, by: Author, now: datetime
) -> tuple[ChangeOutcome, Customer]:
    """The outcome and the changed customer. Raises NoSuchCustomer, CustomerExists or CustomerUnnamed."""
    async with connection.transaction():
        await history.lock(connection)
        draft = draft_of(await customer_by_id(connection, customer_id), patch)
        await _check(connection, draft)
        await write_customers(connection, [draft], by=by, now=now)
        return draft.outcome, await customer_by_id(connection, customer_id)


async def write_customers(
    connection: Connection, drafts: Sequence[Draft], *, by: Author, now: datetime
) -> None:
    """Writes what is new or changed, and its history. Call it in a transaction with the lock."""
    for name, outcome in (("add_customers", ChangeOutcome.NEW), ("change_customers", ChangeOutcome.CHANGED)):
        if some := [draft for draft in drafts if draft.outcome is outcome]:
            rows = [{"customer_id": draft.uuid, **draft.fields} for draft in some]
            with refusing_hidden():
                await connection.execute(SQL[name], as_json(rows), now)
    await history.record(connection, drafts, by, now)


def draft_of(customer: Customer | None, patch: CustomerPatch) -> Draft:
    """The customer with the patch applied; None: a new one."""
    if customer is None:
        draft = Draft(Entity.CUSTOMER, uuid7(), None, dict.fromkeys(FIELDS) | {"custom": {}})
    else:
        was = {name: getattr(customer, name) for name in FIELDS}
        draft = Draft(Entity.CUSTOMER, customer.customer_id, was, dict(was))
    draft.fields = patched(draft.fields, patch, FIELDS)
    return draft


def patched(before: Fields, patch: Any, names: Iterable[str]) -> Fields:
    """The fields with the patch applied; `custom` name by name."""
    after = dict(before)
    for name in names:
        value = getattr(patch, name)
        if value is UNSET:
            continue
        if name == "custom":
            value = {key: each for key, each in {**before[name], **value}.items() if each is not None}
        after[name] = value
    return after


def is_named(customer: Fields) -> bool:
    """Whether the customer has a field that identifies it to people."""
    return any(customer[name] is not None for name in _NAMED_BY)


def named(customer: Fields) -> str:
    """The name to show for the customer: the e-mail, or else the name or the company."""
    return next(str(customer[name]) for name in _NAMED_BY if customer[name] is not None)


async def _check(connection: Connection, draft: Draft) -> None:
    if not is_named(draft.fields):
        raise CustomerUnnamed
    for name, find in (("email", customers_by_email), ("account", customers_by_account)):
        value = draft.fields[name]
        same = (await find(connection, [value])).get(value) if value else None
        if same is not None and same.customer_id != draft.uuid:
            key = "e-mail" if name == "email" else name
            raise CustomerExists(f"A customer of the {key} {value} exists already: {same.customer_id}.")


def _canonical(email: str) -> str:
    try:
        return canonical(email)
    except ValueError:  # from a version that did not check e-mails
        return email.lower()


def _customer(row: asyncpg.Record) -> Customer:
    return Customer(**{**row, "custom": orjson.loads(row["custom"])})
