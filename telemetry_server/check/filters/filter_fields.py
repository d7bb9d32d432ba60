"""The fields of filters of installations, licenses, customers, features and cohorts. Pure."""

from collections.abc import Mapping
from typing import TypeAlias

from telemetry_server.check.fields import load_registry
from telemetry_server.check.filters.terms import Field, ValueType
from telemetry_server.model import UNKNOWN, LicenseSource, LicenseStatus, LicenseType, Lifecycle, Verdict

Fields: TypeAlias = Mapping[str, Field]

_DECLARED = load_registry().fields
ATTENTION = ("missing", "lost", "forked")
_SWITCH = ("true", "false")
_THREE_WAYS = (*_SWITCH, UNKNOWN)

_PRODUCT = Field("product", ValueType.TEXT, "The product's slug.")
_SIMULATED = Field("simulated", ValueType.FLAG, "The product's fleet is simulated.", _SWITCH)
_CREATED = Field("created", ValueType.TIME, "When it came into the registry: how long ago, a date, a time.")
_UPDATED = Field("updated", ValueType.TIME, "When it was changed last.")
_ID = Field("id", ValueType.PREFIX, "How its id begins.")


def _by_name(*fields: Field) -> Fields:
    return {field.name: field for field in fields}


INSTALLATIONS = _by_name(
    _PRODUCT,
    Field("verdict", ValueType.CHOICE, "What the license registry says today.", tuple(Verdict)),
    Field(
        "status",
        ValueType.CHOICE,
        "What the copy says of its license.",
        _DECLARED["license.status"].values,
    ),
    Field(
        "source",
        ValueType.CHOICE,
        "Where it says the license is from; unknown if it doesn't.",
        _DECLARED["license.source"].values,
    ),
    Field("claim_mismatch", ValueType.FLAG, "Its status is not what the registry says.", _SWITCH),
    Field("source_mismatch", ValueType.FLAG, "Its source is not what the registry says.", _SWITCH),
    Field("license", ValueType.IDENTITY, "The whole id of its license in the registry; none: it is on none."),
    Field("source_detail", ValueType.TEXT, "Which marketplace, reseller or bundle it is from, or unknown."),
    Field("version", ValueType.VERSION, "Version, or unknown; 7.4.* is any 7.4; < and > go by numbers."),
    Field("edition", ValueType.TEXT, "The edition, or unknown."),
    Field("environment", ValueType.TEXT, "production, staging …, or unknown."),
    Field("os", ValueType.LOWER_CASE, "The distribution's ID, or unknown."),
    Field("arch", ValueType.TEXT, "The machine's architecture, or unknown."),
    Field("vm", ValueType.TEXT, "The hypervisor; none on bare metal, unknown if not reported."),
    Field("container", ValueType.TEXT, "The container manager; none outside one, unknown if not reported."),
    Field("cloud", ValueType.TEXT, "The cloud provider; none found, or unknown if not reported."),
    Field("country", ValueType.COUNTRY, "ISO 3166-1 alpha-2 code of the address, or unknown."),
    Field("asn", ValueType.NETWORK, "Number of the network operator of the address, or unknown."),
    Field("hosting", ValueType.FLAG, "The network is a hosting provider's, as far as known.", _THREE_WAYS),
    Field(
        "life", ValueType.CHOICE, "Whether it keeps reporting, by its product's schedule.", tuple(Lifecycle)
    ),
    Field("life_since", ValueType.TIME, "When that phase began; life=lost life_since<7d: lost this week."),
    Field("address", ValueType.ADDRESS, "The address of its last ping, or unknown."),
    Field("network", ValueType.ADDRESS_RANGE, "That address is in this network, as 192.0.2.0/24."),
    Field("first_seen", ValueType.TIME, "When its first ping came: how long ago (30d, 12h), a date, a time."),
    Field("last_seen", ValueType.TIME, "When its last ping came; last_seen<30d: less than 30 days ago."),
    Field("attention", ValueType.CHOICE, "Pings are missing, given up as lost, or forked.", ATTENTION),
    Field("id", ValueType.PREFIX, "How the installation's id begins."),
    _SIMULATED,
)

LICENSES = _by_name(
    _PRODUCT,
    Field("status", ValueType.CHOICE, "What the vendor decided.", tuple(LicenseStatus)),
    Field("type", ValueType.CHOICE, "What kind of license it is.", tuple(LicenseType)),
    Field("source", ValueType.CHOICE, "Where it was obtained from, or unknown.", (*LicenseSource, UNKNOWN)),
    Field("customer", ValueType.IDENTITY, "The whole id of its customer; none: it has none."),
    Field("order", ValueType.TEXT, "The reference of its order."),
    Field("edition", ValueType.TEXT, "Its edition, or unknown."),
    Field("hint", ValueType.TEXT, "The last characters of its key."),
    Field(
        "seats",
        ValueType.NUMBER,
        "How many installations may run on it; unlimited matches only !=.",
    ),
    Field("seats_used", ValueType.NUMBER, "How many run on it."),
    Field(
        "exceeded",
        ValueType.FLAG,
        "More run on it than it has seats, allowed overage or not.",
        _SWITCH,
    ),
    Field(
        "starts",
        ValueType.TIME_AHEAD,
        "When it starts: how long ahead (30d, 12h), a day, a time, or none.",
    ),
    Field(
        "expires",
        ValueType.TIME_AHEAD,
        "When it ends, or its last day, or none; expires<30d: less than 30 days ahead, or past.",
    ),
    _CREATED,
    _UPDATED,
    _ID,
    _SIMULATED,
)

CUSTOMERS = _by_name(
    Field("email", ValueType.EMAIL, "The e-mail address."),
    Field("name", ValueType.TEXT, "The name."),
    Field("company", ValueType.TEXT, "The company."),
    Field("tax_id", ValueType.TEXT, "The tax number."),
    Field("account", ValueType.TEXT, "The account at a marketplace or in another system."),
    _CREATED,
    _UPDATED,
    _ID,
)

FEATURES = _by_name(_PRODUCT, Field("feature", ValueType.TEXT, "The feature's name."), _SIMULATED)
COHORTS = _by_name(_PRODUCT, _SIMULATED)
