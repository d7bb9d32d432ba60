"""Which fields of a late message of the shop still hold, by the times of the events.

Messages may arrive in any order; the resulting license is the same as in the order of their events. Pure:
neither reads nor writes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from typing import Any

from msgspec import UNSET, UnsetType

from telemetry_server.check.days import end
from telemetry_server.model import (
    Customer,
    CustomerPatch,
    License,
    LicensePatch,
    LicenseStatus,
    ShopMessage,
)

_EMAIL, _CUSTOMER, _CUSTOM = "customer_email", "customer_", "custom."
_TAKEN = (LicenseStatus.ACTIVE, LicenseStatus.SUSPENDED, LicenseStatus.REVOKED, LicenseStatus.REFUNDED)
_OF_A_LICENSE = tuple(
    field.name for field in fields(LicensePatch) if field.name not in {"custom", "customer", "customer_id"}
)
_OF_A_CUSTOMER = tuple(field.name for field in fields(CustomerPatch) if field.name != "custom")


@dataclass(frozen=True, slots=True)
class Said:
    """The message that set a field: when its event happened, and its id."""

    happened_at: datetime
    webhook_id: str


@dataclass(frozen=True, slots=True)
class Timely:
    """The part of a message that holds: the patch, its fields, and those for which a later message holds."""

    patch: LicensePatch
    fields: tuple[str, ...]
    overtaken: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownLicense:
    """The license, its customer, the fields set by the shop, and when another actor set its status."""

    license: License
    customer: Customer | None
    said: Mapping[str, Said]
    status_set_at: datetime | None


def all_of(patch: LicensePatch) -> Timely:
    """The whole patch, for a license that does not exist yet."""
    return Timely(patch, _fields_of(patch), ())


def timely(patch: LicensePatch, message: ShopMessage, known: KnownLicense) -> Timely:
    """The part that holds of a message about an existing license."""

    def holds(field: str) -> bool:
        return _holds(field, patch, message, known)

    held = {name: getattr(patch, name) for name in _OF_A_LICENSE if holds(name)}
    if patch.custom is not UNSET:
        held["custom"] = {name: each for name, each in patch.custom.items() if holds(_CUSTOM + name)}
    part = LicensePatch(**{name: value for name, value in held.items() if value is not UNSET})
    part = replace(part, **_customer(patch, message, known, holds))
    sent, kept = set(_fields_of(patch)), set(_fields_of(part))
    return Timely(part, tuple(sent & kept), tuple(sorted(sent - kept)))


def _holds(field: str, patch: LicensePatch, message: ShopMessage, known: KnownLicense) -> bool:
    """Whether the message holds for a field: it is the latest, or of two equally late ones it takes away."""
    takes_away = _takes_away(field, patch, known.license)
    if field == "status" and known.status_set_at is not None and message.happened_at < known.status_set_at:
        return bool(takes_away)  # an earlier event does not give back what another actor took away since
    last = known.said.get(field)
    if last is None or message.happened_at != last.happened_at:
        return last is None or message.happened_at > last.happened_at
    return message.id > last.webhook_id if takes_away is None else takes_away


def _takes_away(field: str, patch: LicensePatch, now: License) -> bool | None:
    """Whether the message reduces what the license grants; None for a field without an order."""
    match field, getattr(patch, field, UNSET):
        case (("status" | "seats" | "expires_at"), UnsetType()):
            return False
        case "status", said:
            return _TAKEN.index(said or LicenseStatus.ACTIVE) > _TAKEN.index(now.status)
        case "seats", said:
            return _is_less(said, now.seats)
        case "expires_at", (None | date() as said):
            return _is_less(end(said, now.time_zone), now.expires_at)
    return None


def _is_less(one: Any, other: Any) -> bool:
    """None is unlimited."""
    return one is not None and (other is None or one < other)


def _customer(
    patch: LicensePatch, message: ShopMessage, known: KnownLicense, holds: Callable[[str], bool]
) -> dict[str, Any]:
    """The customer in the message, as far as it holds.

    The e-mail identifies the customer of a message. Fields of the license's customer that later messages set
    are added to an e-mail that comes late, and
    survive a message "no customer" that comes late.
    """
    owner = known.customer
    now: dict[str, Any] = {} if owner is None else {name: getattr(owner, name) for name in _OF_A_CUSTOMER}
    speaks_of_one = isinstance(patch.customer, CustomerPatch)  # whose names are those of the same moment, too
    since = message.happened_at, "" if speaks_of_one else message.id
    later = {
        name: value
        for name, value in now.items()
        if value is not None
        and name != "email"
        and (last := known.said.get(_CUSTOMER + name)) is not None
        and (last.happened_at, last.webhook_id) > since
    }
    if patch.customer_id is not UNSET or patch.customer is None:
        whole: dict[str, Any] = {"customer_id": patch.customer_id, "customer": patch.customer}
        if patch.customer is None and later:  # they are of another customer, who has no e-mail
            nothing: dict[str, Any] = dict.fromkeys(now)
            whole["customer"] = CustomerPatch(**nothing | later)
        return whole if holds(_EMAIL) else {}
    if patch.customer is UNSET:
        return {}
    said: CustomerPatch = patch.customer
    names_it = said.email is not UNSET
    if not holds(_EMAIL) and not (now and names_it and said.email == now["email"]):
        return {}
    held = {
        name: value
        for name in _OF_A_CUSTOMER
        if (value := getattr(said, name)) is not UNSET and (name == "email" or holds(_CUSTOMER + name))
    }
    if names_it:
        held = later | held
    return {"customer": CustomerPatch(**held)} if held else {}


def _fields_of(patch: LicensePatch) -> tuple[str, ...]:
    """The names of the fields that a patch sets, as columns of an import."""
    names = [name for name in _OF_A_LICENSE if getattr(patch, name) is not UNSET]
    names += [_CUSTOM + name for name in (() if patch.custom is UNSET else patch.custom)]
    if patch.customer_id is not UNSET or patch.customer is None:
        names += [_CUSTOMER + name for name in _OF_A_CUSTOMER]
    elif patch.customer is not UNSET:
        names += [_CUSTOMER + name for name in _OF_A_CUSTOMER if getattr(patch.customer, name) is not UNSET]
    return tuple(names)
