"""The license registry of a fleet: customers, licenses, the hashes of their keys, and changes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import orjson

from telemetry_server.model import LicenseStatus
from telemetry_server.simulate import rows
from telemetry_server.simulate.deals import Deal, customer_of
from telemetry_server.simulate.dice import Dice
from telemetry_server.simulate.lives import NEVER
from telemetry_server.simulate.tales import Customer, License, LicenseTerms
from telemetry_server.simulate.terms import Terms, moment
from telemetry_server.simulate.world import DAY

ACTOR, REASON = "simulate", "simulated"
_CUSTOMER, _CHANGE = 6, 7
_DAYS_OF_OLDEST_CUSTOMER = 900

HashOfKey = Callable[[str], bytes]


def customer(number: int, slug: str, terms: Terms) -> rows.Customer:
    at = _customer_since(number, terms)
    return rows.Customer(
        customer_id=customer_id(number, terms),
        email=f"customer-{number}@{slug}.example",
        name=f"Example Customer {number}",
        company=f"Example Company {number}" if number % 5 else None,
        custom=_json({"simulated": slug}),
        created_at=moment(at),
        updated_at=moment(at),
    )


def customer_id(number: int, terms: Terms) -> UUID:
    return Dice(terms.seed, _CUSTOMER, number).uuid7(_customer_since(number, terms))


def _customer_since(number: int, terms: Terms) -> int:
    return terms.over.begin - (1 + number % _DAYS_OF_OLDEST_CUSTOMER) * DAY


def license_row(deal: Deal, seats_used: int, slug: str, terms: Terms) -> rows.License:
    status = deal.status_at(terms.over.end)
    changed_at = deal.starts_at if status is LicenseStatus.ACTIVE else deal.changed_at or deal.starts_at
    return rows.License(
        license_id=deal.license_id,
        product_id=terms.product_id,
        customer_id=customer_id(customer_of(terms.seed, deal.number), terms),
        key_hash=terms.hash_of_key(terms.key_of(deal)),
        key_hint=terms.key_of(deal)[-4:],
        status=status,
        type=deal.type,
        source=deal.source,
        source_detail=deal.source_detail,
        order_reference=f"SIM-{deal.number:06d}",
        edition=deal.edition,
        seats=deal.seats,
        addresses=deal.addresses,
        starts_at=moment(deal.starts_at),
        expires_at=moment(deal.expires_at) if deal.expires_at else None,
        custom=_json({"simulated": slug}),
        created_at=moment(deal.starts_at),
        updated_at=moment(changed_at),
        seats_used=seats_used,
        stale=False,
    )


def license_keys(deal: Deal, terms: Terms, elsewhere: Mapping[UUID, HashOfKey]) -> Iterator[rows.LicenseKey]:
    """The hash of the key for this product, and for each other one, so that a stray key is recognised."""
    yield rows.LicenseKey(terms.hash_of_key(terms.key_of(deal)), deal.license_id, terms.product_id)
    for product_id, hash_of_key in elsewhere.items():
        yield rows.LicenseKey(hash_of_key(terms.key_of(deal)), deal.license_id, product_id)


def registry_changes(deal: Deal, terms: Terms) -> Iterator[rows.RegistryChange]:
    made = {"status": "active", "type": deal.type, "seats": deal.seats, "edition": deal.edition}
    yield _change(deal, terms, deal.starts_at, None, made)
    status = deal.status_at(terms.over.end)
    if status is not LicenseStatus.ACTIVE and deal.changed_at:
        yield _change(deal, terms, deal.changed_at, {"status": "active"}, {"status": status})


def world_customer(made: Customer, slug: str) -> rows.Customer:
    return rows.Customer(
        customer_id=made.customer_id,
        email=made.email,
        name=made.name,
        company=made.company,
        custom=_json({"simulated": slug, "country": made.country}),
        created_at=moment(made.since),
        updated_at=moment(made.since),
    )


def world_license(
    made: License, product_id: UUID, key_hash: bytes, seats_used: int, slug: str
) -> rows.License:
    """The row at the end; `territory` in its custom fields is the country that its terms allow."""
    at, terms = max([made.registered_at or 0, *(at for at, _ in made.changes)]), made.at(NEVER)
    custom = {"simulated": slug, "territory": made.territory}
    return rows.License(
        license_id=made.license_id,
        product_id=product_id,
        customer_id=terms.customer.customer_id if terms.customer else None,
        key_hash=key_hash,
        key_hint=made.key[-4:],
        status=terms.status,
        type=terms.type,
        source=terms.source,
        source_detail=terms.source_detail,
        order_reference=f"SIM-{made.number:09d}",
        edition=terms.edition,
        seats=terms.seats,
        addresses=(),
        starts_at=moment(made.starts_at),
        expires_at=moment(terms.expires_at) if terms.expires_at else None,
        custom=_json({name: value for name, value in custom.items() if value is not None}),
        created_at=moment(made.registered_at or made.starts_at),
        updated_at=moment(at),
        seats_used=seats_used,
        stale=False,
        overage=terms.overage,
    )


def world_registry_changes(made: License, seed: int) -> Iterator[rows.RegistryChange]:
    """The license as it was made, and each change with the fields that differ."""
    steps: list[tuple[int, dict[str, Any] | None, dict[str, Any]]] = [
        (made.registered_at or made.starts_at, None, _as_fields(made.terms))
    ]
    before = made.terms
    for at, terms in made.changes:
        was, now = _as_fields(before), _as_fields(terms)
        changed = [name for name in now if now[name] != was[name]]
        steps.append((at, {name: was[name] for name in changed}, {name: now[name] for name in changed}))
        before = terms
    for number, (at, old, new) in enumerate(steps):
        change_id = Dice(seed, _CHANGE, made.number, number).uuid7(at)
        row = (change_id, moment(at), "license", str(made.license_id), ACTOR, REASON)
        yield rows.RegistryChange(*row, None if old is None else _json(old), _json(new))


def _as_fields(terms: LicenseTerms) -> dict[str, Any]:
    ends = terms.expires_at
    return {
        **{name: value for name, value in terms._asdict().items() if name not in {"customer", "expires_at"}},
        "expires_at": f"{moment(ends):%Y-%m-%dT%H:%M:%SZ}" if ends else None,
        "customer_id": str(terms.customer.customer_id) if terms.customer else None,
    }


def _change(
    deal: Deal, terms: Terms, at: int, before: dict[str, Any] | None, after: dict[str, Any]
) -> rows.RegistryChange:
    change_id = Dice(terms.seed, _CHANGE, deal.number).uuid7(at)
    was = _json(before) if before is not None else None
    return rows.RegistryChange(
        *(change_id, moment(at), "license", str(deal.license_id), ACTOR, REASON, was, _json(after))
    )


def _json(document: dict[str, Any]) -> str:
    return orjson.dumps(document).decode()
