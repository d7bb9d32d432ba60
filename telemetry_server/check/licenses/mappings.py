"""Maps the columns of other systems to ours, with a table for each system. Pure.

docs/licenses.md lists the expected columns and how to get such a file. Our own columns pass unchanged,
unless the other system has one of the same name.
"""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, TypeAlias

from telemetry_server.check.licenses.cells import moment
from telemetry_server.check.licenses.rows import Cells

Convert: TypeAlias = Callable[[str], str]

ONCE = {"one time", "onetime", "free", "free account"}


class MappingName(StrEnum):
    """The supported systems."""

    WHMCS = "whmcs"
    ENVATO = "envato"


class WrongCell(ValueError):
    """A cell of the other system cannot be converted."""

    def __init__(self, column: str, detail: str) -> None:
        super().__init__(detail)
        self.column = column


@dataclass(frozen=True, slots=True)
class Asked:
    """What a mapping needs beside the file."""

    today: date
    enforce_addresses: bool


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """`columns` maps their column, in lower case with _ for spaces, to ours and the converter of its cells.

    `defaults` fill empty cells. `finish` handles what takes several columns, and returns whether the row only
    follows another one. `read` decodes the cells of the system.
    """

    columns: Mapping[str, tuple[str, Convert]]
    defaults: Mapping[str, str]
    finish: Callable[[Cells, Cells, Asked], bool]
    read: Convert = str


def whmcs_date(text: str) -> str:
    """Empty for 0000-00-00, MySQL's notation for no date."""
    return "" if text.strip().startswith("0000-00-00") else text


def whmcs_status(text: str) -> str:
    """Reissued means waiting for the next check; Expired is stated by the date, see `_whmcs`."""
    return {"active": "active", "reissued": "active", "expired": "active", "suspended": "suspended"}.get(
        text.strip().lower(), text
    )


def whmcs_type(text: str) -> str:
    """The type that follows from the billing cycle."""
    return "purchased" if text.strip().lower() in ONCE else "subscription"


def marketplace(text: str) -> str:
    """The name of the marketplace: codecanyon for codecanyon.net."""
    return text.strip().lower().removesuffix(".net")


def envato_account(buyer: str) -> str:
    """The buyer as an account; the case of a user name does not matter."""
    return f"envato:{buyer.strip().lower()}" if buyer.strip() else ""


def _whmcs(theirs: Cells, ours: Cells, asked: Asked) -> bool:
    """Joins the two columns of the name; a license that is Expired ended with its service, or when due.

    validip is the address as the server sees it, often behind NAT: it is enforced only on request.
    """
    if name := " ".join(filter(None, (_cell(theirs, "firstname"), _cell(theirs, "lastname")))):
        ours["customer_name"] = name
    if _cell(theirs, "status").lower() == "expired":
        ours["expires_at"] = whmcs_date(_cell(theirs, "termination_date")) or ours.get("expires_at")
        if not ours["expires_at"]:
            raise WrongCell("status", "is Expired; add the date, as nextduedate or termination_date")
        if _day(ours["expires_at"]) > asked.today:
            raise WrongCell(
                "status", f"is Expired, but {ours['expires_at']} is still to come; add termination_date"
            )
    if "validip" in theirs and "addresses_enforced" not in theirs:
        ours["addresses_enforced"] = "true" if asked.enforce_addresses else "false"
    return False


def _day(text: str) -> date:
    """The day; the first day of the calendar for any other text, which the reader of the cell refuses."""
    try:
        return date.fromisoformat(str(moment(text) or date.min)[:10])
    except ValueError:
        return date.min


_SALE = {"", "sale", "sales"}
_MINUS = set("-\u2212(")  # -$10, $-10, ($10)
_TAKEN_BACK = {"sale reversal", "sale refund", "reversal", "refund", "chargeback"}


def _envato(theirs: Cells, ours: Cells, _: Asked) -> bool:
    """A reversed sale keeps only its key and status; a line about a fee keeps only its key."""
    if buyer := _cell(theirs, "buyer"):
        ours["customer_name"] = ours.get("customer_name") or buyer
    kind, amount = _cell(theirs, "type").lower(), _cell(theirs, "amount")
    if kind in _SALE and not (kind == "" and not _MINUS.isdisjoint(amount)):
        return False
    ours_are = {"key": ours.get("key")}
    if kind in _TAKEN_BACK or not kind:
        ours_are["status"] = "refunded"
    ours.clear()
    ours.update(ours_are)
    return True


MAPPINGS: dict[MappingName, ColumnMapping] = {
    MappingName.WHMCS: ColumnMapping(
        columns={
            "licensekey": ("key", str),
            "license_key": ("key", str),
            "status": ("status", whmcs_status),
            "validdomain": ("domains", str),
            "validip": ("addresses", str),
            "validdirectory": ("directories", str),
            "regdate": ("starts_at", whmcs_date),
            "nextduedate": ("expires_at", whmcs_date),
            "billingcycle": ("type", whmcs_type),
            "email": ("customer_email", str),
            "name": ("customer_name", str),
            "companyname": ("customer_company", str),
            "tax_id": ("customer_tax_id", str),
            "ordernum": ("order_reference", str),
            "serviceid": ("custom.whmcs_service", str),
            "product": ("custom.whmcs_product", str),
            "firstname": ("", str),
            "lastname": ("", str),
            "termination_date": ("", str),
        },
        defaults={"source": "direct"},
        finish=_whmcs,
        read=html.unescape,
    ),
    MappingName.ENVATO: ColumnMapping(
        columns={
            "purchase_code": ("key", str),
            "code": ("key", str),
            "sold_at": ("starts_at", str),
            "date": ("starts_at", str),
            "buyer": ("customer_account", envato_account),
            "buyer_email": ("customer_email", str),
            "order_id": ("order_reference", str),
            "site": ("source_detail", marketplace),
            "item.site": ("source_detail", marketplace),
            "item": ("custom.envato_item", str),
            "item_name": ("custom.envato_item", str),
            "item.name": ("custom.envato_item", str),
            "item_id": ("custom.envato_item_id", str),
            "item.id": ("custom.envato_item_id", str),
            "license": ("custom.envato_license", str),
            "supported_until": ("custom.envato_supported_until", str),
            "type": ("", str),
            "amount": ("", str),
        },
        defaults={"source": "marketplace", "source_detail": "codecanyon"},
        finish=_envato,
    ),
}


def mapped(mapping: ColumnMapping, cells: Cells, known: frozenset[str], asked: Asked) -> tuple[Cells, bool]:
    """The cells in our columns, and whether the row follows another one about its license.

    `known` are our columns; other columns are left out. Raises WrongCell.
    """
    theirs = {
        _bare(name): mapping.read(value) if isinstance(value, str) else value
        for name, value in _flat(cells).items()
    }
    ours: Cells = {}
    for name, value in theirs.items():
        column, convert = mapping.columns.get(name, (name, str))
        if _is_ours(column, known):
            ours[column] = ours.get(column) or (convert(value) if isinstance(value, str) else value)
    if mapping.finish(theirs, ours, asked):
        return ours, True
    for name, default in mapping.defaults.items():
        ours[name] = ours.get(name) or default
    return ours, False


def our_columns(mapping: ColumnMapping, cells: Cells) -> list[str]:
    """Our names of the columns."""
    return [mapping.columns.get(_bare(name), (_bare(name), str))[0] for name in _flat(cells)]


def left_out(mapping: ColumnMapping, cells: Cells, known: frozenset[str]) -> list[str]:
    """The columns that neither system knows."""
    names = {name: _bare(name) for name in _flat(cells)}
    return [name for name, bare in names.items() if bare not in mapping.columns and not _is_ours(bare, known)]


def _bare(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _is_ours(name: str, known: frozenset[str]) -> bool:
    return name in known or name.startswith("custom.")


def _flat(cells: Cells) -> Cells:
    """The row with its objects flattened: item: {name: …} becomes item.name."""
    flat: Cells = {}
    for name, value in cells.items():
        if isinstance(value, dict) and name != "custom":
            flat |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            flat[name] = value
    return flat


def _cell(cells: Mapping[str, Any], name: str) -> str:
    value = cells.get(name)
    return value.strip() if isinstance(value, str) else ""
