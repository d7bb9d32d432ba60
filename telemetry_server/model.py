"""The words of this project as types. Imports nothing of ours."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Final, NewType, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

UNKNOWN: Final = "unknown"
"""The value of what was not reported."""
NONE: Final = "none"
"""The value of what was looked for in vain."""

ProductId = NewType("ProductId", UUID)
Slug = NewType("Slug", str)

LARGEST_INTEGER = 2**53 - 1  # the largest that every JSON parser reads exactly
Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]
NonNegative: TypeAlias = Annotated[int, Meta(ge=0)]
Simulated: TypeAlias = Annotated[bool, Meta(description="The product's fleet is simulated.")]
SequenceNumber: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST_INTEGER)]
NumberRanges: TypeAlias = Annotated[
    tuple[tuple[SequenceNumber, SequenceNumber], ...], Meta(description="Half-open: [from, to).")
]


class Status(StrEnum):
    """What became of one ping of an upload."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    FORKED = "forked"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Why a ping was rejected, or a part of it dropped. The closed set that is counted."""

    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_VALUE = "unknown_value"
    TOO_LONG = "too_long"
    BAD_FORMAT = "bad_format"
    OUT_OF_RANGE = "out_of_range"
    TOO_MANY = "too_many"
    FORBIDDEN_CHARACTER = "forbidden_character"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    OUT_OF_ORDER = "out_of_order"


class Verdict(StrEnum):
    """What the license registry says of a copy's claim."""

    VALID = "valid"
    TRIAL = "trial"
    OVER_SEATS = "over_seats"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    WRONG_PRODUCT = "wrong_product"
    WRONG_PLACE = "wrong_place"
    UNKNOWN_KEY = "unknown_key"
    NO_KEY = "no_key"


class Lifecycle(StrEnum):
    """Whether an installation keeps reporting, by its product's schedule."""

    NEW = "new"
    ACTIVE = "active"
    LATE = "late"
    LOST = "lost"
    RETURNED = "returned"


class LicenseStatus(StrEnum):
    """What the vendor decided about a license; that it is expired is told by its dates."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    REFUNDED = "refunded"


STATUS_AFTER: Mapping[str, LicenseStatus | None] = {
    "license.created": None,
    "license.updated": None,
    "license.suspended": LicenseStatus.SUSPENDED,
    "license.reinstated": LicenseStatus.ACTIVE,
    "license.revoked": LicenseStatus.REVOKED,
    "license.refunded": LicenseStatus.REFUNDED,
}
"""The types of the shop's messages that are carried out, and the status each leaves a license in.

None: as its data says.
"""


class LicenseType(StrEnum):
    """What kind of license it is."""

    PURCHASED = "purchased"
    SUBSCRIPTION = "subscription"
    TRIAL = "trial"
    NOT_FOR_RESALE = "not_for_resale"
    INTERNAL = "internal"


class LicenseSource(StrEnum):
    """Where a license was obtained from."""

    DIRECT = "direct"
    RESELLER = "reseller"
    MARKETPLACE = "marketplace"
    BUNDLE = "bundle"
    GIFT = "gift"


class Overage(StrEnum):
    """How far over its seats a license may be before that is called over_seats; nothing is ever blocked."""

    NONE = "none"
    QUARTER = "1.25x"
    HALF = "1.5x"
    DOUBLE = "2x"
    ANY = "any"


class Role(StrEnum):
    """What a token or a signed-in person may do."""

    VIEWER = "viewer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Product:
    """What the vendor sells; the tenant of every other row."""

    id: ProductId
    slug: Slug
    name: str
    ping_interval_seconds: int
    created_at: datetime
    grace_seconds: int = 86_400
    lost_after_seconds: int = 2_592_000
    new_for_seconds: int = 604_800
    simulated: bool = False
    time_zone: str = "UTC"


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """A party that owns licenses: personal data."""

    customer_id: UUID
    email: str | None
    name: str | None
    company: str | None
    tax_id: str | None
    technical_contact: str | None
    account: str | None = None
    custom: Mapping[str, Any]
    created_at: Moment
    updated_at: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class License:
    """A license of the registry; the key itself is stored nowhere. `product` is the slug, addresses are text.

    The descriptions are those of the API, which shows all but `key_hash` and `stale`.
    """

    license_id: UUID
    product_id: ProductId
    product: Slug
    simulated: Simulated
    time_zone: Annotated[str, Meta(description="Of its product, in which dates are days.")] = "UTC"
    customer_id: UUID | None
    key_hash: bytes
    key_hint: Annotated[str, Meta(description="The last characters of the key, which is not stored.")]
    status: LicenseStatus
    type: LicenseType
    source: LicenseSource | None
    source_detail: str | None
    order_reference: str | None
    edition: str | None
    seats: Annotated[NonNegative | None, Meta(description="Installations allowed; null: any number.")]
    overage: Overage
    domains: tuple[str, ...]
    addresses: tuple[str, ...]
    addresses_enforced: Annotated[bool, Meta(description="Whether another address is a wrong_place.")] = True
    directories: tuple[str, ...]
    free_environments: tuple[str, ...]
    starts_at: Annotated[Moment | None, Meta(description="A date is that day in the product's time zone.")]
    expires_at: Annotated[Moment | None, Meta(description="Expired from then on; a date: after that day.")]
    custom: Mapping[str, Any]
    created_at: Moment
    updated_at: Moment
    seats_used: NonNegative
    stale: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verdict looks at of a license; equal for two that grant the same.

    `networks` are those that are enforced. Environments in lower case.
    """

    product_id: ProductId
    status: LicenseStatus
    type: LicenseType
    source: LicenseSource | None
    seats: int | None
    seats_used: int
    overage: Overage
    networks: tuple[IPv4Network | IPv6Network, ...]
    free_environments: tuple[str, ...]
    starts_at: datetime | None
    expires_at: datetime | None


class Unknown(Enum):
    """Not "there is none", but "nobody asked yet"."""

    YET = "unknown yet"


UNKNOWN_YET: Final = Unknown.YET


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerPatch:
    """What somebody says of a customer: UNSET stays as it is, None clears; `custom` does so name by name."""

    email: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    company: str | UnsetType | None = UNSET
    tax_id: str | UnsetType | None = UNSET
    technical_contact: str | UnsetType | None = UNSET
    account: str | UnsetType | None = UNSET
    custom: Mapping[str, Any] | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class LicensePatch:
    """What somebody says of a license: UNSET stays as it is, None clears, which is back to the default.

    A date in `starts_at` and `expires_at` is a whole day of the product's time zone. `customer_id` names a
    customer that is there. `customer` describes one: with an e-mail or an account the one of that, who is
    made where there is none; without, the one the license has, or a new one.
    """

    status: LicenseStatus | UnsetType | None = UNSET
    type: LicenseType | UnsetType | None = UNSET
    source: LicenseSource | UnsetType | None = UNSET
    source_detail: str | UnsetType | None = UNSET
    order_reference: str | UnsetType | None = UNSET
    edition: str | UnsetType | None = UNSET
    seats: int | UnsetType | None = UNSET
    overage: Overage | UnsetType | None = UNSET
    domains: tuple[str, ...] | UnsetType | None = UNSET
    addresses: tuple[str, ...] | UnsetType | None = UNSET
    addresses_enforced: bool | UnsetType | None = UNSET
    directories: tuple[str, ...] | UnsetType | None = UNSET
    free_environments: tuple[str, ...] | UnsetType | None = UNSET
    starts_at: date | UnsetType | None = UNSET
    expires_at: date | UnsetType | None = UNSET
    custom: Mapping[str, Any] | UnsetType = UNSET
    customer_id: UUID | UnsetType | None = UNSET
    customer: CustomerPatch | UnsetType | None = UNSET


@dataclass(frozen=True, slots=True)
class LicenseRow:
    """A line of a file, or whatever came as one: which license, by `key` or else by id, and what of it.

    One that `follows` another about its license, as a refund does a sale, adds to what that one says.
    """

    line: int
    key: str | None
    license_id: UUID | None
    patch: LicensePatch
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes the registry, e.g. cli:maria or api:shop, and why."""

    actor: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ShopMessage:
    """A message of the shop's webhook whose signature holds; `happened_at` is by the shop's clock."""

    id: str
    type: str
    data: dict[str, Any]
    happened_at: datetime


class Ping(msgspec.Struct, gc=False):
    """A ping that passed `check/`, on its way through the pipeline; later steps fill in the last fields.

    `facts` is a JSON object of what stays the same from ping to ping, `details` one of what does not,
    `features` one of the counters, or None where the ping has none. `license_status`, `license_source`
    and `environment` are among the facts too.
    """

    ping_id: UUID
    sequence: int
    occurred_at: datetime
    key_digest: str | None
    facts: str
    details: str
    features: str | None
    unknown: int
    stripped: int
    license_status: str = "unlicensed"
    license_source: str = UNKNOWN
    environment: str = UNKNOWN
    license_key_hash: bytes | None = None
    time_suspect: bool = False
    state: bytes = b""
    verdict: Verdict = Verdict.NO_KEY
    claim_mismatch: bool = False
    source_mismatch: bool = False


class SignedUpload(msgspec.Struct, gc=False):
    """The pings of one upload by one installation, ready for the writer: no number twice, rising.

    `place` is a JSON object; `client_address` is the address as text, or None where it is never kept.
    """

    installation_id: UUID
    product_id: UUID
    received_at: datetime
    client_address: str | None
    place: str
    pings: list[Ping]


class Written(msgspec.Struct, frozen=True, gc=False):
    """What the writer committed. `missing`: half-open ranges [from, to) of numbers that never came.

    `others` maps the number of each ping that was not accepted to what became of it.
    """

    others: dict[int, Status] = {}
    missing: tuple[tuple[int, int], ...] = ()


ALL_ACCEPTED: Final = Written()


class RefusedPing(msgspec.Struct, frozen=True, gc=False):
    """A ping that is not kept: what can be said of its identity, and why."""

    ping_id: str | None
    sequence: int | None
    reason: Reason
    detail: str


class Sender(msgspec.Struct, frozen=True):
    """The installation whose secret signed a request."""

    product: Product
    installation_id: UUID
    secret: bytes


class Arrival(msgspec.Struct):
    """An upload on its way through the pipeline; each step fills in what it finds out.

    `sent` are the bytes as they came, in Content-Encoding `encoding`; `body` are the inflated ones.
    """

    path: str
    signature: str
    sent: bytes
    encoding: str | None
    address: str | None
    received_at: datetime
    body: bytes = b""
    sender: Sender | None = None
    upload_id: UUID | None = None
    sent_at: datetime | None = None
    items: list[Ping | RefusedPing] = []
    place: str = "{}"
    written: Written = ALL_ACCEPTED

    @property
    def known_sender(self) -> Sender:
        """The sender, once the signature was checked; a step that needs it stands after that one."""
        assert self.sender is not None
        return self.sender


Slices: TypeAlias = Iterator[None]
"""Work that takes long: each step of the iterator does a few milliseconds of it, and may raise a refusal."""

Step: TypeAlias = Callable[[Arrival], Slices | Awaitable[None] | None]
"""Does its work at once, or gives back what is left: slices of work, or something to wait for."""
