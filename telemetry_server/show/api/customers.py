"""The registry's customers in the API: personal data, hence for admins only."""

from datetime import UTC, datetime
from uuid import UUID

from aiohttp import web
from msgspec.structs import asdict

from telemetry_server import app_keys
from telemetry_server.check.licenses.columns import OF_THE_CUSTOMER, customer_patch
from telemetry_server.errors import Malformed, NotFound, TooLarge
from telemetry_server.model import Customer
from telemetry_server.permissions import Permission
from telemetry_server.routing import Parameter, Route, get
from telemetry_server.show import filters
from telemetry_server.show.api.licenses import RegistryChanges, entries
from telemetry_server.show.body import LONGEST_REASON, optional, read_object, refuse, take_text
from telemetry_server.show.paging import AFTER_ID, LIMIT, Page, page
from telemetry_server.show.query import IDENTIFIER, read_path, read_query
from telemetry_server.show.recorded_views import author, record
from telemetry_server.show.responses import json_response
from telemetry_server.store.database import Connection, translated
from telemetry_server.store.reading import reading
from telemetry_server.store.registry import history
from telemetry_server.store.registry.customers import (
    CustomerExists,
    CustomerUnnamed,
    NoSuchCustomer,
    change_customer,
    create_customer,
    customer_by_id,
    list_customers,
)
from telemetry_server.store.registry.history import ChangeOutcome, Entity
from telemetry_server.uuid7 import LOWEST

PARAMETERS = (*filters.CUSTOMERS.parameters, LIMIT, AFTER_ID)
_ID = Parameter("customer_id", "Its id.", IDENTIFIER, where="path", required=True)


class CustomerDetail(Customer, frozen=True, kw_only=True):
    """A customer with its history."""

    changes: RegistryChanges


class Customers(Page[Customer]):
    """Customers, in order of creation."""


CustomerChange = optional("CustomerChange", Customer, [*OF_THE_CUSTOMER, "custom"], reason=str)


async def list_page(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    wanted, limit, after = (
        filters.CUSTOMERS.filter(asked, within=None),
        asked["limit"],
        asked.get("after", LOWEST),
    )
    async with reading(request.app[app_keys.POOL]) as connection:
        found = await list_customers(connection, wanted, now=datetime.now(UTC), after=after, limit=limit + 1)
    return page(request, found, limit, lambda one: one, lambda one: one.customer_id)


async def one_customer(request: web.Request) -> web.Response:
    read_query(request, ())
    customer_id = read_path(request, "customer_id")
    async with reading(request.app[app_keys.POOL]) as connection:
        found = await find_customer(connection, customer_id)
        changes = await history.history(connection, Entity.CUSTOMER, str(customer_id))
    return json_response(CustomerDetail(**asdict(found), changes=entries(changes)))


async def add_customer(request: web.Request) -> web.Response:
    read_query(request, ())
    document = await read_object(request)
    by = author(request, take_text(document, "reason", LONGEST_REASON))
    patch, problems = customer_patch(document)
    refuse(problems)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        made = await create_customer(connection, patch, by=by, now=datetime.now(UTC))
    return json_response(made, status=201)


async def edit_customer(request: web.Request) -> web.Response:
    """A missing field stays unchanged, null clears it."""
    read_query(request, ())
    customer_id = read_path(request, "customer_id")
    document = await read_object(request)
    by = author(request, take_text(document, "reason", LONGEST_REASON))
    patch, problems = customer_patch(document)
    refuse(problems)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        await find_customer(connection, customer_id)
        outcome, now_is = await change_customer(connection, customer_id, patch, by=by, now=datetime.now(UTC))
    if outcome is ChangeOutcome.UNCHANGED:
        await record(request.app[app_keys.POOL], request, "customer.view", customer_id)
    return json_response(now_is)


async def find_customer(connection: Connection, customer_id: UUID) -> Customer:
    """The customer. Raises NotFound."""
    try:
        return await customer_by_id(connection, customer_id)
    except NoSuchCustomer:
        raise NotFound("There is no customer of this id.") from None


_ERRORS = (Malformed, CustomerExists, CustomerUnnamed, TooLarge)

ROUTES = (
    get(
        "/api/v1/customers",
        list_page,
        "List customers",
        Customers,
        PARAMETERS,
        permission=Permission.CUSTOMERS,
        step_up=True,
        audited="customer",
    ),
    get(
        "/api/v1/customers/{customer_id}",
        one_customer,
        "One customer with its history",
        CustomerDetail,
        (_ID,),
        permission=Permission.CUSTOMERS,
        audited="customer",
        errors=(NotFound,),
    ),
    Route(
        "POST",
        "/api/v1/customers",
        add_customer,
        "Add a customer",
        permission=Permission.CUSTOMERS_CHANGE,
        audited="customer",
        body=CustomerChange,
        answers={201: Customer},
        errors=_ERRORS,
    ),
    Route(
        "PATCH",
        "/api/v1/customers/{customer_id}",
        edit_customer,
        "Change a customer",
        permission=Permission.CUSTOMERS_CHANGE,
        audited="customer",
        parameters=(_ID,),
        body=CustomerChange,
        answers={200: Customer},
        errors=(NotFound, *_ERRORS),
    ),
)
