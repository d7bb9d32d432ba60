"""Adding and changing a customer: a form, the difference that it would make, and only then the change."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from msgspec import UNSET, UnsetType, defstruct

from telemetry_server import app_keys
from telemetry_server.check.licenses.columns import OF_THE_CUSTOMER, customer_patch
from telemetry_server.errors import FieldProblem, NotFound
from telemetry_server.model import Customer
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Route, get
from telemetry_server.show.access.forms import read_form
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.api.customers import find_customer
from telemetry_server.show.differences import LABELS, Difference, in_words
from telemetry_server.show.pages.customer import ID
from telemetry_server.show.pages.license_forms import ChangedMeanwhile
from telemetry_server.show.query import read_path, read_query
from telemetry_server.show.recorded_views import author
from telemetry_server.show.registry_forms import FormField, Steps, changed_cells, confirm_page, reason_of
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.store.database import translated
from telemetry_server.store.registry.customers import (
    CustomerExists,
    CustomerUnnamed,
    change_customer,
    create_customer,
)

_NAMES = tuple(OF_THE_CUSTOMER)
_HINTS = {"account": "at a marketplace or in another system, such as envato:ann_lee"}
CustomerForm = defstruct(
    "CustomerForm",
    [
        ("csrf_token", str),
        *((name, str | UnsetType, UNSET) for name in (*_NAMES, "step", "fields", "updated_at", "reason")),
    ],
)


async def edit_form(request: web.Request) -> web.Response:
    read_query(request, ())
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        found = await find_customer(connection, read_path(request, "customer_id"))
    return _form_page(request, found, _texts(found), ())


async def new_form(request: web.Request) -> web.Response:
    read_query(request, ())
    return _form_page(request, None, {}, ())


async def change(request: web.Request) -> web.Response:
    """Shows the difference; with `step=save`, makes the change."""
    form, customer_id = await read_form(request), read_path(request, "customer_id")
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        found = await find_customer(connection, customer_id)
    if form.get("updated_at", found.updated_at.isoformat()) != found.updated_at.isoformat():
        raise ChangedMeanwhile
    return await _save(request, found, form)


async def add(request: web.Request) -> web.Response:
    """Shows what would be added; with `step=save`, adds it."""
    return await _save(request, None, await read_form(request))


async def _save(request: web.Request, found: Customer | None, form: Mapping[str, str]) -> web.Response:
    texts = dict.fromkeys(_NAMES, "") if found is None else _texts(found)
    cells, reason, now = changed_cells(form, texts, _NAMES), reason_of(form), datetime.now(UTC)
    patch, problems = customer_patch(cells)
    if not problems and not cells:
        problems = [FieldProblem("/", "Nothing differs from what is saved.")]
    if problems:
        return _form_page(request, found, texts | cells, problems)
    if form.get("step") == Steps.SAVE:
        try:
            async with translated(), request.app[app_keys.POOL].acquire() as connection:
                by = author(request, reason)
                if found is None:
                    made = await create_customer(connection, patch, by=by, now=now)
                else:
                    _, made = await change_customer(connection, found.customer_id, patch, by=by, now=now)
        except (CustomerExists, CustomerUnnamed) as wrong:
            return _form_page(request, found, texts | cells, [FieldProblem("/", wrong.detail)])
        return see_other(f"/customers/{made.customer_id}")
    return confirm_page(
        request,
        title="New customer" if found is None else str(found.company or found.name or found.email),
        action=_action(found),
        rows=_differences(texts, cells, is_new=found is None),
        cells=cells,
        hidden={"reason": reason or ""}
        | ({} if found is None else {"updated_at": found.updated_at.isoformat()}),
        back=_action(found),
    )


def _differences(texts: Mapping[str, str], cells: Mapping[str, str], *, is_new: bool) -> list[Difference]:
    return [
        Difference(LABELS[name], None if is_new else in_words(name, texts[name]), in_words(name, value))
        for name, value in cells.items()
    ]


def _texts(found: Customer) -> dict[str, str]:
    return {name: getattr(found, name) or "" for name in _NAMES}


def _action(found: Customer | None) -> str:
    return "/customers/new" if found is None else f"/customers/{found.customer_id}"


def _form_page(
    request: web.Request,
    found: Customer | None,
    values: Mapping[str, str],
    problems: Sequence[FieldProblem],
) -> web.Response:
    wrong = {each.pointer.removeprefix("/"): each.detail for each in problems}
    fields: Iterable[FormField] = [
        FormField(name, LABELS[name], values.get(name, ""), hint=_HINTS.get(name), problem=wrong.get(name))
        for name in _NAMES
    ]
    return page(
        request,
        "customer_form.html",
        status=422 if problems else 200,
        customer=found,
        action=_action(found),
        fields=fields,
        problem=wrong.get(""),
    )


def _route(path: str, handler: Any, summary: str, *errors: Any, **more: Any) -> Route:
    return Route(
        "POST",
        path,
        handler,
        summary,
        permission=Permission.CUSTOMERS_CHANGE,
        page=True,
        audited="customer",
        body=CustomerForm,
        answers={200: HTML, 303: "", 422: HTML},
        errors=(*FORM_ERRORS, *errors),
        **more,
    )


_OF_ONE: dict[str, Any] = {"permission": Permission.CUSTOMERS_CHANGE, "audited": "customer"}

ROUTES = (
    get("/customers/new", new_form, "Form for a new customer", HTML, **_OF_ONE),
    _route("/customers/new", add, "Add a customer, by a form"),
    get(
        "/customers/{customer_id}/edit",
        edit_form,
        "Form of a customer",
        HTML,
        (ID,),
        errors=(NotFound,),
        **_OF_ONE,
    ),
    _route(
        "/customers/{customer_id}",
        change,
        "Change a customer, by a form",
        NotFound,
        ChangedMeanwhile,
        parameters=(ID,),
    ),
)
