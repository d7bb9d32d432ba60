"""What can be filtered by: the fields of installations, licenses, customers, features and cohorts. Pure."""

from collections.abc import Mapping
from typing import TypeAlias

from telemetry_server.check.fields import load_registry
from telemetry_server.check.filters.terms import UNKNOWN, Field, Kind
from telemetry_server.model import LicenseSource, LicenseStatus, LicenseType, Life, Verdict

Fields: TypeAlias = Mapping[str, Field]

_DECLARED = load_registry().fields
ATTENTION = ("missing", "lost", "forked")
_SWITCH = ("true", "false")
_THREE_WAYS = (*_SWITCH, UNKNOWN)

_PRODUCT = Field("product", Kind.TEXT, "The product's slug.")
_SIMULATED = Field("simulated", Kind.FLAG, "The product's fleet was made up by the simulator.", _SWITCH)
_CREATED = Field("created", Kind.TIME, "When it came into the registry: how long ago, a date, a time.")
_UPDATED = Field("updated", Kind.TIME, "When it was changed last.")
_ID = Field("id", Kind.PREFIX, "How its id begins.")


def _by_name(*fields: Field) -> Fields:
    return {field.name: field for field in fields}


INSTALLATIONS = _by_name(
    _PRODUCT,
    Field("verdict", Kind.CHOICE, "What the license registry says today.", tuple(Verdict)),
    Field(
        "status",
        Kind.CHOICE,
        "What the copy says of its license.",
        _DECLARED["license.status"].values,
    ),
    Field(
        "source",
        Kind.CHOICE,
        "Where it says the license is from; unknown if it doesn't.",
        _DECLARED["license.source"].values,
    ),
    Field("claim_mismatch", Kind.FLAG, "Its status is not what the registry says.", _SWITCH),
    Field("source_mismatch", Kind.FLAG, "Its source is not what the registry says.", _SWITCH),
    Field("license", Kind.IDENTITY, "The whole id of its license in the registry; none: it is on none."),
    Field("version", Kind.VERSION, "Version of the software, or unknown; < and > go by its numbers."),
    Field("edition", Kind.TEXT, "The edition, or unknown."),
    Field("environment", Kind.TEXT, "production, staging …, or unknown."),
    Field("os", Kind.LOWER_CASE, "The distribution's ID, or unknown."),
    Field("vm", Kind.TEXT, "The hypervisor; none on bare metal, unknown if not told."),
    Field("container", Kind.TEXT, "The container manager; none outside one, unknown if not told."),
    Field("cloud", Kind.TEXT, "The cloud provider; none found, or unknown if not told."),
    Field("country", Kind.COUNTRY, "ISO 3166-1 alpha-2 code of the address, or unknown."),
    Field("asn", Kind.NETWORK, "Number of the network operator of the address, or unknown."),
    Field("hosting", Kind.FLAG, "The network is a hosting provider's, as far as known.", _THREE_WAYS),
    Field("life", Kind.CHOICE, "Whether it goes on reporting, by its product's schedule.", tuple(Life)),
    Field("first_seen", Kind.TIME, "When its first ping came: how long ago (30d, 12h), a date, a time."),
    Field("last_seen", Kind.TIME, "When its last ping came; last_seen<30d: less than 30 days ago."),
    Field("attention", Kind.CHOICE, "Pings are missing, given up as lost, or forked.", ATTENTION),
    Field("id", Kind.PREFIX, "How the installation's id begins."),
    _SIMULATED,
)

LICENSES = _by_name(
    _PRODUCT,
    Field("status", Kind.CHOICE, "What the vendor decided.", tuple(LicenseStatus)),
    Field("type", Kind.CHOICE, "What kind of license it is.", tuple(LicenseType)),
    Field("source", Kind.CHOICE, "Where it was obtained from, or unknown.", (*LicenseSource, UNKNOWN)),
    Field("customer", Kind.IDENTITY, "The whole id of its customer; none: it has none."),
    Field("order", Kind.TEXT, "The reference of its order."),
    Field("edition", Kind.TEXT, "Its edition, or unknown."),
    Field("hint", Kind.TEXT, "The last characters of its key."),
    Field("seats", Kind.NUMBER, "How many installations may run on it; where any number may, only != holds."),
    Field("seats_used", Kind.NUMBER, "How many run on it."),
    Field("exceeded", Kind.FLAG, "More run on it than it has seats, whatever its overage allows.", _SWITCH),
    Field(
        "starts",
        Kind.TIME_AHEAD,
        "When it starts: how long ahead (30d, 12h), a day, a time, or none.",
    ),
    Field(
        "expires",
        Kind.TIME_AHEAD,
        "When it ends, or its last day, or none; expires<30d: less than 30 days ahead, or past.",
    ),
    _CREATED,
    _UPDATED,
    _ID,
    _SIMULATED,
)

CUSTOMERS = _by_name(
    Field("email", Kind.EMAIL, "The e-mail address."),
    Field("name", Kind.TEXT, "The name."),
    Field("company", Kind.TEXT, "The company."),
    Field("tax_id", Kind.TEXT, "The tax number."),
    Field("account", Kind.TEXT, "The account at a marketplace or in another system."),
    _CREATED,
    _UPDATED,
    _ID,
)

FEATURES = _by_name(_PRODUCT, Field("feature", Kind.TEXT, "The feature's name."), _SIMULATED)
COHORTS = _by_name(_PRODUCT, _SIMULATED)
