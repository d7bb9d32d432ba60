"""The domain types. Imports nothing of ours."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Final, NewType, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

UNKNOWN: Final = "unknown"  # what was not reported
NONE: Final = "none"  # what was looked for and not found
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
    """The outcome of one ping of an upload."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    FORKED = "forked"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"


class Reason(StrEnum):
    """The reason why a ping was rejected, or a part of it dropped; counted by this closed set."""

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
    """The verdict of the license registry about a copy's claim."""

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
    """The lifecycle of an installation, by its product's schedule."""

    NEW = "new"
    ACTIVE = "active"
    LATE = "late"
    LOST = "lost"
    RETURNED = "returned"


class LicenseStatus(StrEnum):
    """The status of a license as set by the vendor; expiry follows from its dates."""

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
"""The types of the shop's messages that are processed, and the license status (None: in its data) of each."""


class LicenseType(StrEnum):
    """The kind of a license."""

    PURCHASED = "purchased"
    SUBSCRIPTION = "subscription"
    TRIAL = "trial"
    NOT_FOR_RESALE = "not_for_resale"
    INTERNAL = "internal"


class LicenseSource(StrEnum):
    """The source of a license."""

    DIRECT = "direct"
    RESELLER = "reseller"
    MARKETPLACE = "marketplace"
    BUNDLE = "bundle"
    GIFT = "gift"


class Overage(StrEnum):
    """The use of seats up to which a license is not over_seats; nothing is ever blocked."""

    NONE = "none"
    QUARTER = "1.25x"
    HALF = "1.5x"
    DOUBLE = "2x"
    ANY = "any"


class Role(StrEnum):
    """The role of a token or a signed-in person; `permissions.py` says what each may do."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    INVESTIGATOR = "investigator"
    SUPPORT = "support"
    PRIVACY_OFFICER = "privacy_officer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the vendor; the tenant of all other rows."""

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
    """An owner of licenses: personal data."""

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
    over_since: Annotated[Moment | None, Meta(description="seats_used is above seats since then.")] = None
    stale: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """The fields of a license that a verdict needs: enforced networks only, environments in lower case."""

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
    """Not looked up yet, as opposed to None: there is none."""

    YET = "unknown yet"


UNKNOWN_YET: Final = Unknown.YET


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerPatch:
    """A change of a customer: UNSET leaves a field unchanged, None clears it; `custom` is merged by name."""

    email: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    company: str | UnsetType | None = UNSET
    tax_id: str | UnsetType | None = UNSET
    technical_contact: str | UnsetType | None = UNSET
    account: str | UnsetType | None = UNSET
    custom: Mapping[str, Any] | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class LicensePatch:
    """A change of a license: UNSET leaves a field unchanged, None sets it to its default.

    A date in `starts_at` and `expires_at` is a whole day of the product's time zone. `customer_id` is that of
    an existing customer. `customer` describes one: identified by e-mail or account, and created if missing;
    without these, the one of the license, or a new one.
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
    """A line of a license file, or a message: the license, by `key` or else by id, and its change.

    A row that `follows` another about its license, as a refund a sale, adds to the change of that one.
    """

    line: int
    key: str | None
    license_id: UUID | None
    patch: LicensePatch
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Author:
    """The author of a change of the registry, such as api:shop; `recorded_as`: the actor in the audit log."""

    actor: str
    reason: str | None = None
    recorded_as: str | None = None
    network: str | None = None


@dataclass(frozen=True, slots=True)
class ShopMessage:
    """A message of the shop's webhook with a valid signature; `happened_at` is by the shop's clock."""

    id: str
    type: str
    data: dict[str, Any]
    happened_at: datetime


class Ping(msgspec.Struct, gc=False):
    """A ping that passed `check/`; later steps fill in the last fields.

    `facts` is a JSON object of the fields that rarely change (some are attributes, too), `details` of those
    that are neither, or None.
    """

    ping_id: UUID
    sequence: int
    occurred_at: datetime
    key_digest: str | None
    facts: str
    reason: str | None
    used_since: datetime | None
    details: str | None
    features: dict[str, int] | None
    unknown: int
    stripped: int
    license_status: str = "unlicensed"
    license_source: str = UNKNOWN
    environment: str = UNKNOWN
    level: str = "license"
    notice_version: str | None = None
    license_key_hash: bytes | None = None
    time_suspect: bool = False
    state: bytes = b""
    verdict: Verdict = Verdict.NO_KEY
    claim_mismatch: bool = False
    source_mismatch: bool = False


class SignedUpload(msgspec.Struct, gc=False):
    """The pings of one upload by one installation for the writer, by strictly rising number.

    `place` is a JSON object; `client_address` is the address as text, or None if it is not stored.
    """

    installation_id: UUID
    product_id: UUID
    received_at: datetime
    client_address: str | None
    place: str
    pings: list[Ping]


class Written(msgspec.Struct, frozen=True, gc=False):
    """The result of a commit. `missing`: half-open ranges [from, to) of numbers that never came.

    `others`: the outcome of each ping that was not accepted, by its number.
    """

    others: dict[int, Status] = {}
    missing: tuple[tuple[int, int], ...] = ()
    erased: bool = False


ALL_ACCEPTED: Final = Written()


class RefusedPing(msgspec.Struct, frozen=True, gc=False):
    """A rejected ping: its identity as far as known, and the reason."""

    ping_id: str | None
    sequence: int | None
    reason: Reason
    detail: str


class Sender(msgspec.Struct, frozen=True):
    """The installation that signed a request."""

    product: Product
    installation_id: UUID
    secret: bytes


class Arrival(msgspec.Struct):
    """An upload in the pipeline; each step fills in its results.

    `sent` are the bytes as received, in Content-Encoding `encoding`; `body` are the inflated ones.
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
        """The sender; only for steps after the check of the signature."""
        assert self.sender is not None
        return self.sender


Slices: TypeAlias = Iterator[None]
"""Long work in slices: each item of the iterator takes a few milliseconds, and may raise a refusal."""

Step: TypeAlias = Callable[[Arrival], Slices | Awaitable[None] | None]
"""Does its work at once, or returns the rest: slices of work, or an awaitable."""
