"""The rows of a simulated fleet, by table, with their columns in order."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID


class Installation(NamedTuple):
    """A row of installations; `received` and `received_before` as PostgreSQL writes an int8multirange."""

    installation_id: UUID
    product_id: UUID
    received: str
    received_before: str
    first_received_at: datetime
    last_received_at: datetime
    last_sequence: int
    last_occurred_at: datetime
    client_address: str
    state: bytes
    state_before: bytes | None


class State(NamedTuple):
    """A row of states."""

    installation_id: UUID
    state: bytes
    first_received_at: datetime
    license_status: str
    license_source: str | None
    license_key_hash: bytes | None
    facts: str
    place: str


class Present(NamedTuple):
    """A row of the temporary table presents: the present row of a copy beside its last state."""

    installation_id: UUID
    product_id: UUID
    first_received_at: datetime
    license_id: UUID | None
    verdict: str
    claim_mismatch: bool
    source_mismatch: bool
    judged_at: datetime
    judge_again: bool
    life: str
    life_since: datetime
    due_at: datetime


class Change(NamedTuple):
    """A row of changes."""

    installation_id: UUID
    changed_at: datetime
    sequence: int
    field: str
    before: str | None
    after: str | None


class Stretch(NamedTuple):
    """A row of the temporary table stretches, from which pings are made."""

    copy: int
    installation_id: UUID
    first_number: int
    last_number: int
    begins_ms: int
    delivered_ms: int | None
    first_received_ms: int
    last_received_ms: int
    phase_ms: int
    lag_ms: int
    clock_off_ms: int
    client_address: str
    state: bytes
    reason: str
    profile: int | None
    verdict: str
    claim_mismatch: bool
    source_mismatch: bool


class Usage(NamedTuple):
    """A row of the temporary table usage: a usage section of a profile on a day of the week."""

    usage_number: int
    features: str


class Rival(NamedTuple):
    """A row of the temporary table rivals, from which forks are made."""

    installation_id: UUID
    sequence: int
    ping_id: UUID
    received_at: datetime
    occurred_at: datetime
    client_address: str
    facts: str
    details: str
    place: str


class Lineage(NamedTuple):
    """A row of lineage."""

    installation_id: UUID
    parent_id: UUID
    product_id: UUID
    enrolled_at: datetime
    client_address: str


class Hostname(NamedTuple):
    """A row of the temporary table found_hostnames: what the DNS says of an address."""

    address: str
    hostname: str
    looked_up_at: datetime


class Customer(NamedTuple):
    """A row of customers."""

    customer_id: UUID
    email: str
    name: str
    company: str | None
    custom: str
    created_at: datetime
    updated_at: datetime


class License(NamedTuple):
    """A row of licenses."""

    license_id: UUID
    product_id: UUID
    customer_id: UUID | None
    key_hash: bytes
    key_hint: str
    status: str
    type: str
    source: str
    source_detail: str | None
    order_reference: str
    edition: str
    seats: int | None
    addresses: tuple[str, ...]
    starts_at: datetime
    expires_at: datetime | None
    custom: str
    created_at: datetime
    updated_at: datetime
    seats_used: int
    stale: bool
    overage: str = "none"


class LicenseKey(NamedTuple):
    """A row of license_keys."""

    key_hash: bytes
    license_id: UUID
    product_id: UUID


class RegistryChange(NamedTuple):
    """A row of registry_changes."""

    change_id: UUID
    changed_at: datetime
    entity: str
    entity_id: str
    actor: str
    reason: str
    before: str | None
    after: str


class Edition(NamedTuple):
    """A row of editions."""

    product_id: UUID
    edition: str
    name: str


class Release(NamedTuple):
    """A row of releases."""

    product_id: UUID
    version: str
    released_on: date
    builds: tuple[str, ...]


Row: TypeAlias = (
    Installation
    | State
    | Present
    | Change
    | Stretch
    | Usage
    | Rival
    | Lineage
    | Hostname
    | Customer
    | License
    | LicenseKey
    | RegistryChange
    | Edition
    | Release
)

TABLES: Mapping[type[Row], str] = {
    Customer: "customers",
    License: "licenses",
    LicenseKey: "license_keys",
    RegistryChange: "registry_changes",
    Edition: "editions",
    Release: "releases",
    Installation: "installations",
    State: "states",
    Present: "presents",
    Change: "changes",
    Lineage: "lineage",
    Hostname: "found_hostnames",
    Stretch: "stretches",
    Usage: "usage",
    Rival: "rivals",
}
"""The table of each row, in the order of references."""
