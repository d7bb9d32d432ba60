"""What a row says of a license: a LicenseRow, or its problems. Pure, and never raises.

The same for CSV, for NDJSON and for the API's JSON. A column that is not there leaves its field as it is;
an empty cell clears it. docs/licenses.md describes the columns.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from msgspec import UNSET, UnsetType

from telemetry_server.check.licenses.cells import (
    MOST_CUSTOM,
    Parse,
    account,
    custom_name,
    custom_object,
    custom_value,
    domain,
    email,
    environments,
    identifier,
    key,
    moment,
    network,
    one_of,
    paths,
    reference,
    seats,
    several,
    switch,
    text,
    words,
)
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

Patch = TypeVar("Patch", LicensePatch, CustomerPatch)

CUSTOM = "custom."

KEY, LICENSE_ID = "key", "license_id"
IDENTITY: dict[str, Parse] = {KEY: key, LICENSE_ID: identifier}

OF_THE_LICENSE: dict[str, Parse] = {
    "status": one_of(LicenseStatus),
    "type": one_of(LicenseType),
    "source": one_of(LicenseSource),
    "source_detail": text(256),
    "order_reference": reference(256),
    "edition": text(64),
    "seats": seats,
    "overage": one_of(Overage),
    "domains": several(domain, words),
    "addresses": several(network, words),
    "addresses_enforced": switch,
    "directories": several(text(1024), paths),
    "free_environments": environments,
    "starts_at": moment,
    "expires_at": moment,
}
OF_THE_CUSTOMER: dict[str, Parse] = {
    "email": email,
    "name": text(256),
    "company": text(256),
    "tax_id": reference(64),
    "technical_contact": text(256),
    "account": account,
}
CUSTOMER_COLUMNS = {f"customer_{field}": parse for field, parse in OF_THE_CUSTOMER.items()}
PARSERS = {**IDENTITY, **OF_THE_LICENSE, **CUSTOMER_COLUMNS, "custom": custom_object}


def license_row(line: int, cells: Cells) -> LicenseRow | list[RowProblem]:
    """The row that begins on that line, or everything that is wrong with it."""
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
    """What is said of a license that is known otherwise: `cells` are columns but for key and license_id.

    Beside them there may be customer_id, for a customer that is there, in place of the columns customer_….
    """
    parsers = {name: parse for name, parse in PARSERS.items() if name not in IDENTITY}
    values, problems = _parsed(cells, {**parsers, "customer_id": identifier})
    patch = _license_patch(values)
    if "customer_id" in values:
        if patch.customer is not UNSET:
            problems.append(
                _problem("customer_id", "says who the customer is; leave the other customer_ out")
            )
        patch = replace(patch, customer_id=values["customer_id"], customer=UNSET)
    return patch, problems


def customer_patch(cells: Mapping[str, Any]) -> tuple[CustomerPatch, list[FieldProblem]]:
    """What is said of a customer: `cells` are email, name, company, tax_id, technical_contact and custom."""
    values, problems = _parsed(cells, {**OF_THE_CUSTOMER, "custom": custom_object})
    custom = values.pop("custom", UNSET)
    return CustomerPatch(**values, custom={} if custom is None else custom), problems


def _parsed(
    cells: Mapping[str, Any], parsers: Mapping[str, Parse]
) -> tuple[dict[str, Any], list[FieldProblem]]:
    """The value of each cell that is there, None where it is empty; custom fields in one object."""
    values: dict[str, Any] = {}
    problems: list[FieldProblem] = []
    custom: dict[str, Any] = {}
    for name, cell in cells.items():
        empty = cell is None or (isinstance(cell, str) and not cell.strip())
        try:
            if (parse := parsers.get(name)) is not None:
                values[name] = None if empty else parse(cell)
            elif name.startswith(CUSTOM) and "custom" in parsers:
                custom[custom_name(name.removeprefix(CUSTOM))] = None if empty else custom_value(cell)
            elif not empty:
                problems.append(_problem(name, "is no column that is known"))
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
    """Whom the columns customer_… describe; None where they say that there is nobody."""
    given = {name.removeprefix("customer_"): values[name] for name in CUSTOMER_COLUMNS if name in values}
    if not given:
        return UNSET
    if {"email", "account"} & given.keys() and not any(given.values()):
        return None
    return CustomerPatch(**given)


def _problem(column: str, detail: str) -> FieldProblem:
    return FieldProblem(f"/{column}", detail)
