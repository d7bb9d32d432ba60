"""One customer: who it is, its licenses, the copies on them, notes and history."""

from datetime import UTC, datetime

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.check.filters.filter_fields import LICENSES
from telemetry_server.check.filters.terms import term
from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, Route, get
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.api.customers import find_customer
from telemetry_server.show.differences import differences
from telemetry_server.show.query import IDENTIFIER, read_path, read_query
from telemetry_server.show.recorded_views import author
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.store.database import translated
from telemetry_server.store.fleet.licensed_copies import Copies, copies_by_license
from telemetry_server.store.reading import reading
from telemetry_server.store.registry import customer_notes, history, license_lists
from telemetry_server.store.registry.customers import NoSuchCustomer
from telemetry_server.store.registry.history import Entity
from telemetry_server.text import hidden_in

ID = Parameter("customer_id", "Its id.", IDENTIFIER, where="path", required=True)
_LICENSES = 200
_ROLES = (
    ("Owner", ("name", "email")),
    ("Company", ("company",)),
    ("Tax number", ("tax_id",)),
    ("Technical contact", ("technical_contact",)),
    ("Account elsewhere", ("account",)),
)
"""The contacts by role, and the fields of each."""


class Note(Struct):
    """A new note."""

    csrf_token: str
    note: str


async def one_customer(request: web.Request) -> web.Response:
    read_query(request, ())
    customer_id, now = read_path(request, "customer_id"), datetime.now(UTC)
    async with reading(request.app[app_keys.POOL]) as connection:
        found = await find_customer(connection, customer_id)
        changes = await history.history(connection, Entity.CUSTOMER, str(customer_id))
        notes = await customer_notes.notes_of(connection, customer_id)
        part = license_lists.ListPage("-over", _LICENSES)
        of_it = term(LICENSES["customer"], "=", str(customer_id))
        licenses = await license_lists.licenses_shown(connection, of_it, part, now=now)
        totals = await license_lists.license_totals(connection, of_it, now=now)
        ids = [row["license_id"] for row in licenses]
        copies = await copies_by_license(connection, ids)
    counted = Copies()
    for each in copies.values():
        counted.join(each)
    return page(
        request,
        "customer.html",
        customer=found,
        title=found.company or found.name or found.email,
        contacts=[
            (role, [getattr(found, name) for name in names if getattr(found, name)]) for role, names in _ROLES
        ],
        custom=found.custom,
        licenses=licenses,
        totals=totals,
        copies=copies,
        counted=counted,
        notes=notes,
        longest_note=customer_notes.LONGEST_NOTE,
        changes=[(each, differences(each.before, each.after)) for each in changes],
    )


async def add_note(request: web.Request) -> web.Response:
    form, customer_id = await read_form_as(request, Note), read_path(request, "customer_id")
    text = form.note.replace("\r\n", "\n").strip()
    if not 1 <= len(text) <= customer_notes.LONGEST_NOTE or hidden_in(text):
        raise BadRequest(f"A note has 1 to {customer_notes.LONGEST_NOTE} characters, no invisible ones.")
    try:
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            by = author(request, None)
            await customer_notes.add_note(connection, customer_id, text, by=by, now=datetime.now(UTC))
    except NoSuchCustomer:
        raise NotFound("There is no customer of this id.") from None
    return see_other(f"/customers/{customer_id}#notes")


ROUTES = (
    get(
        "/customers/{customer_id}",
        one_customer,
        "One customer",
        HTML,
        (ID,),
        permission=Permission.CUSTOMERS,
        audited="customer",
        errors=(NotFound,),
    ),
    Route(
        "POST",
        "/customers/{customer_id}/notes",
        add_note,
        "Write a note on a customer",
        permission=Permission.CUSTOMERS_CHANGE,
        page=True,
        audited="customer",
        parameters=(ID,),
        body=Note,
        answers={303: ""},
        errors=(*FORM_ERRORS, NotFound),
    ),
)
