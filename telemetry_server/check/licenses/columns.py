"""The columns of a row become a LicenseRow, or its problems. Pure, and never raises.

CSV, NDJSON and the API's JSON have the same columns. An absent column leaves its field unchanged; an empty
cell clears it. docs/licenses.md describes the columns.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msgspec import UNSET, UnsetType

from telemetry_server.check.licenses import cells as read
from telemetry_server.check.licenses.cells import MOST_CUSTOM, Parse
from telemetry_server.check.licenses.rows import Cells, RowProblem
from telemetry_server.errors import FieldProblem
from telemetry_server.model import (
    CustomerPatch,
    LicensePatch,
    LicenseRow,
    LicenseSource,
    LicenseStatus,
    LicenseType,
    Overage,
)

CUSTOM = "custom."

KEY, LICENSE_ID = "key", "license_id"
IDENTITY: dict[str, Parse] = {KEY: read.key, LICENSE_ID: read.identifier}

OF_THE_LICENSE: dict[str, Parse] = {
    "status": read.one_of(LicenseStatus),
    "type": read.one_of(LicenseType),
    "source": read.one_of(LicenseSource),
    "source_detail": read.text(256),
    "order_reference": read.reference(256),
    "edition": read.text(64),
    "seats": read.seats,
    "overage": read.one_of(Overage),
    "domains": read.several(read.domain, read.words),
    "addresses": read.several(read.network, read.words),
    "addresses_enforced": read.switch,
    "directories": read.several(read.text(1024), read.paths),
    "free_environments": read.environments,
    "starts_at": read.moment,
    "expires_at": read.moment,
}
OF_THE_CUSTOMER: dict[str, Parse] = {
    "email": read.email,
    "name": read.text(256),
    "company": read.text(256),
    "tax_id": read.reference(64),
    "technical_contact": read.text(256),
    "account": read.account,
}
CUSTOMER_COLUMNS = {f"customer_{field}": parse for field, parse in OF_THE_CUSTOMER.items()}
PARSERS = {**IDENTITY, **OF_THE_LICENSE, **CUSTOMER_COLUMNS, "custom": read.custom_object}


def license_row(line: int, cells: Cells) -> LicenseRow | list[RowProblem]:
    """The row that begins on that line, or all its problems."""
    values, problems = _parsed(cells, PARSERS)
    if values.get(KEY) is None and values.get(LICENSE_ID) is None:
        if not any(problem.pointer in {f"/{KEY}", f"/{LICENSE_ID}"} for problem in problems):
            problems.append(_problem(KEY, "is missing: it says which license the row is about"))
    elif values.get(KEY) is not None and values.get(LICENSE_ID) is not None:
        problems.append(_problem(LICENSE_ID, "and key both say which license the row is about; remove one"))
    if problems:
        return [RowProblem(line, problem.pointer[1:], problem.detail) for problem in problems]
    return LicenseRow(line, values.get(KEY), values.get(LICENSE_ID), _license_patch(values))


def license_patch(cells: Mapping[str, Any]) -> tuple[LicensePatch, list[FieldProblem]]:
    """The patch of a known license and its problems: `cells` are all columns but key and license_id.

    `customer_id`, of an existing customer, may replace the columns customer_….
    """
    parsers = {name: parse for name, parse in PARSERS.items() if name not in IDENTITY}
    values, problems = _parsed(cells, {**parsers, "customer_id": read.identifier})
    patch = _license_patch(values)
    if "customer_id" in values:
        if patch.customer is not UNSET:
            problems.append(
                _problem("customer_id", "says who the customer is; leave the other customer_ out")
            )
        patch = replace(patch, customer_id=values["customer_id"], customer=UNSET)
    return patch, problems


def customer_patch(cells: Mapping[str, Any]) -> tuple[CustomerPatch, list[FieldProblem]]:
    """The patch of a customer and its problems: `cells` are the columns OF_THE_CUSTOMER, and custom."""
    values, problems = _parsed(cells, {**OF_THE_CUSTOMER, "custom": read.custom_object})
    custom = values.pop("custom", UNSET)
    return CustomerPatch(**values, custom={} if custom is None else custom), problems


def _parsed(
    cells: Mapping[str, Any], parsers: Mapping[str, Parse]
) -> tuple[dict[str, Any], list[FieldProblem]]:
    """The value of each cell, None for an empty one, and the problems; custom fields are in one object."""
    values: dict[str, Any] = {}
    problems: list[FieldProblem] = []
    custom: dict[str, Any] = {}
    for name, cell in cells.items():
        empty = cell is None or (isinstance(cell, str) and not cell.strip())
        try:
            if (parse := parsers.get(name)) is not None:
                values[name] = None if empty else parse(cell)
            elif name.startswith(CUSTOM) and "custom" in parsers:
                custom_name = read.custom_name(name.removeprefix(CUSTOM))
                custom[custom_name] = None if empty else read.custom_value(cell)
            elif not empty:
                problems.append(_problem(name, "is not a known column"))
        except ValueError as error:
            problems.append(_problem(name, str(error)))
    if custom:
        values["custom"] = {**(values.get("custom") or {}), **custom}
        if len(values["custom"]) > MOST_CUSTOM:
            problems.append(_problem("custom", f"has more than {MOST_CUSTOM} fields"))
    return values, problems


def _license_patch(values: Mapping[str, Any]) -> LicensePatch:
    given = {name: values[name] for name in OF_THE_LICENSE if name in values}
    if (custom := values.get("custom")) is not None:
        given["custom"] = custom
    return LicensePatch(**given, customer=_customer_of(values))


def _customer_of(values: Mapping[str, Any]) -> CustomerPatch | UnsetType | None:
    """The customer of the columns customer_…; None if email or account is there and all are empty."""
    given = {name.removeprefix("customer_"): values[name] for name in CUSTOMER_COLUMNS if name in values}
    if not given:
        return UNSET
    if {"email", "account"} & given.keys() and not any(given.values()):
        return None
    return CustomerPatch(**given)


def _problem(column: str, detail: str) -> FieldProblem:
    return FieldProblem(f"/{column}", detail)
