"""Files of other systems in our columns: a table for each, column -> ours. Pure.

docs/licenses.md says which columns are assumed and how to get such a file. A column of ours goes through
as it is where the other system has none of that name.
"""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, TypeAlias

from telemetry_server.check.licenses.cells import moment
from telemetry_server.check.licenses.rows import Cells

Convert: TypeAlias = Callable[[str], str]

ONCE = {"one time", "onetime", "free", "free account"}


class MappingName(StrEnum):
    """The systems whose files are known."""

    WHMCS = "whmcs"
    ENVATO = "envato"


class WrongCell(ValueError):
    """A cell of the other system means nothing to us."""

    def __init__(self, column: str, detail: str) -> None:
        super().__init__(detail)
        self.column = column


@dataclass(frozen=True, slots=True)
class Asked:
    """What a mapping has to know beside the file."""

    today: date
    enforce_addresses: bool


def plain(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """`columns`: theirs, in small letters with _ for a space, to ours and how its cells are converted.

    `defaults` are told of rows that say nothing else; `finish` sees to what takes several columns, and says
    whether the row only follows another one. `read` makes text of what the system keeps.
    """

    columns: Mapping[str, tuple[str, Convert]]
    defaults: Mapping[str, str]
    finish: Callable[[Cells, Cells, Asked], bool]
    read: Convert = field(default=plain)


def whmcs_date(text: str) -> str:
    """MySQL's way to say that there is no date."""
    return "" if text.strip().startswith("0000-00-00") else text


def whmcs_status(text: str) -> str:
    """Reissued is a license that waits for its next check; Expired is told by the date, see `_whmcs`."""
    return {"active": "active", "reissued": "active", "expired": "active", "suspended": "suspended"}.get(
        text.strip().lower(), text
    )


def whmcs_type(text: str) -> str:
    """From the billing cycle."""
    return "purchased" if text.strip().lower() in ONCE else "subscription"


def marketplace(text: str) -> str:
    """codecanyon.net is codecanyon."""
    return text.strip().lower().removesuffix(".net")


def envato_account(buyer: str) -> str:
    """A user name is that of one buyer, in whatever case it is written."""
    return f"envato:{buyer.strip().lower()}" if buyer.strip() else ""


def _whmcs(theirs: Cells, ours: Cells, asked: Asked) -> bool:
    """The name in two columns is one; what is Expired ended with its service, or when that was due.

    validip is where the server believes to be, often behind NAT: recorded, and enforced only where asked.
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
    """The day; of what is no date, the first one there is, so that whoever reads the cell says so."""
    try:
        return date.fromisoformat(str(moment(text) or date.min)[:10])
    except ValueError:
        return date.min


_SALE = {"", "sale", "sales"}
_MINUS = set("-\u2212(")  # -$10, $-10, ($10)
_TAKEN_BACK = {"sale reversal", "sale refund", "reversal", "refund", "chargeback"}


def _envato(theirs: Cells, ours: Cells, _: Asked) -> bool:
    """A sale that was taken back says only that; a line about a fee says nothing of the license."""
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
            "licensekey": ("key", plain),
            "license_key": ("key", plain),
            "status": ("status", whmcs_status),
            "validdomain": ("domains", plain),
            "validip": ("addresses", plain),
            "validdirectory": ("directories", plain),
            "regdate": ("starts_at", whmcs_date),
            "nextduedate": ("expires_at", whmcs_date),
            "billingcycle": ("type", whmcs_type),
            "email": ("customer_email", plain),
            "name": ("customer_name", plain),
            "companyname": ("customer_company", plain),
            "tax_id": ("customer_tax_id", plain),
            "ordernum": ("order_reference", plain),
            "serviceid": ("custom.whmcs_service", plain),
            "product": ("custom.whmcs_product", plain),
            "firstname": ("", plain),
            "lastname": ("", plain),
            "termination_date": ("", plain),
        },
        defaults={"source": "direct"},
        finish=_whmcs,
        read=html.unescape,
    ),
    MappingName.ENVATO: ColumnMapping(
        columns={
            "purchase_code": ("key", plain),
            "code": ("key", plain),
            "sold_at": ("starts_at", plain),
            "date": ("starts_at", plain),
            "buyer": ("customer_account", envato_account),
            "buyer_email": ("customer_email", plain),
            "order_id": ("order_reference", plain),
            "site": ("source_detail", marketplace),
            "item.site": ("source_detail", marketplace),
            "item": ("custom.envato_item", plain),
            "item_name": ("custom.envato_item", plain),
            "item.name": ("custom.envato_item", plain),
            "item_id": ("custom.envato_item_id", plain),
            "item.id": ("custom.envato_item_id", plain),
            "license": ("custom.envato_license", plain),
            "supported_until": ("custom.envato_supported_until", plain),
            "type": ("", plain),
            "amount": ("", plain),
        },
        defaults={"source": "marketplace", "source_detail": "codecanyon"},
        finish=_envato,
    ),
}


def mapped(mapping: ColumnMapping, cells: Cells, known: frozenset[str], asked: Asked) -> tuple[Cells, bool]:
    """The cells in our columns, and whether the row follows another one about its license.

    `known` are our columns. What neither knows is left out. Raises WrongCell.
    """
    theirs = {
        _bare(name): mapping.read(value) if isinstance(value, str) else value
        for name, value in _flat(cells).items()
    }
    ours: Cells = {}
    for name, value in theirs.items():
        column, convert = mapping.columns.get(name, (name, plain))
        if _is_ours(column, known):
            ours[column] = ours.get(column) or (convert(value) if isinstance(value, str) else value)
    if mapping.finish(theirs, ours, asked):
        return ours, True
    for name, default in mapping.defaults.items():
        ours[name] = ours.get(name) or default
    return ours, False


def our_columns(mapping: ColumnMapping, cells: Cells) -> list[str]:
    """What the columns are called with us."""
    return [mapping.columns.get(_bare(name), (_bare(name), plain))[0] for name in _flat(cells)]


def left_out(mapping: ColumnMapping, cells: Cells, known: frozenset[str]) -> list[str]:
    """The columns that neither the other system's table nor ours has."""
    names = {name: _bare(name) for name in _flat(cells)}
    return [name for name, bare in names.items() if bare not in mapping.columns and not _is_ours(bare, known)]


def _bare(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _is_ours(name: str, known: frozenset[str]) -> bool:
    return name in known or name.startswith("custom.")


def _flat(cells: Cells) -> Cells:
    """The objects in the row opened: item: {name: …} becomes item.name."""
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
