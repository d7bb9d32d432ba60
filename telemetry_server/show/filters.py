"""Filters in query strings, the same for the API, the lists and the links behind each bar.

The parameter `filter` takes the filter language; common terms have a parameter each. All become one filter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network
from typing import Any, TypeAlias

from telemetry_server.check.filters import filter_fields
from telemetry_server.check.filters.filter_fields import Fields
from telemetry_server.check.filters.parser import LONGEST_FILTER, BadFilter, read_filter
from telemetry_server.check.filters.terms import Field, Filter, Term, ValueType, printed, term
from telemetry_server.check.ranges import RANGES
from telemetry_server.model import UNKNOWN
from telemetry_server.routing import Parameter
from telemetry_server.show.addresses import KEPT_BITS
from telemetry_server.show.query import IDENTIFIER, one_of, text
from telemetry_server.store.dimensions import FACETED

Products: TypeAlias = frozenset[str] | None
"""The slugs of the products that the viewer may see; None: all."""

_PRODUCT = "product"


@dataclass(frozen=True, slots=True)
class Asking:
    """The query parameters that filter rows with these fields; `terms`: the field of each extra parameter."""

    fields: Fields
    example: str
    terms: Mapping[str, str]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        meanings = " ".join(f"{field.name}: {field.text}" for field in self.fields.values())
        language = Parameter(
            "filter",
            f"Terms that all must hold, e.g. {self.example}. {meanings}",
            text() | {"maxLength": LONGEST_FILTER},
        )
        return language, *(
            Parameter(name, self.fields[field].text, _schema(self.fields[field]))
            for name, field in self.terms.items()
        )

    def filter(self, asked: Mapping[str, Any], *, within: Products) -> Filter:
        """The filter in `asked`, as read by `read_query`, limited to the products `within`.

        Other names in `asked` are left alone. Raises BadFilter.
        """
        values = {field: asked.get(name) for name, field in self.terms.items()}
        wanted = read_filter(asked.get("filter", ""), self.fields, values)
        return wanted if within is None else _limited(wanted, self.fields[_PRODUCT], within)


def _names_addresses(one: Term) -> bool:
    match one.field.kind:
        case ValueType.ADDRESS:
            return any(value != UNKNOWN for value in one.values)
        case ValueType.ADDRESS_RANGE:
            networks = [ip_network(str(value)) for value in one.values]
            return any(network.prefixlen > KEPT_BITS[network.version] for network in networks)
    return False


def _limited(wanted: Filter, product: Field, within: frozenset[str]) -> Filter:
    """A product outside is answered like an unknown one, without a list of those there are."""
    named = {str(value) for term in wanted.terms if term.field.name == _PRODUCT for value in term.values}
    if foreign := sorted(named - within):
        raise BadFilter(f"There is no product {', '.join(map(printed, foreign))}.")
    return wanted + term(product, "=", *sorted(within))


def chosen_product(asked: str | None, within: Products) -> str | None:
    """The product of a page that shows one or all: of limited people, the one asked for, or their first.

    Raises BadFilter for another one.
    """
    if within is None:
        return asked
    if asked is not None and asked not in within:
        raise BadFilter(f"There is no product {printed(asked)}.")
    return asked or min(within, default="")


def _schema(field: Field) -> dict[str, Any]:
    if field.kind is ValueType.IDENTITY:
        return IDENTIFIER
    return one_of(*field.values) if field.values else text()


LICENSES = Asking(
    filter_fields.LICENSES,
    "status=active source=reseller,marketplace expires<30d",
    {"product": "product", "status": "status", "customer_id": "customer", "order_reference": "order"},
)
CUSTOMERS = Asking(filter_fields.CUSTOMERS, "company=Example created<30d", {"email": "email"})
FEATURES = Asking(
    filter_fields.FEATURES,
    "product=billing feature=invoice.sent",
    {"product": "product", "feature": "feature"},
)
COHORTS = Asking(filter_fields.COHORTS, "simulated=false", {"product": "product"})

# ── installations: also with what only pages ask for ───────────────────────────────────────────

_INSTALLATIONS = Asking(
    filter_fields.INSTALLATIONS,
    "verdict=unknown_key country=DE,FR version>=7.2 last_seen<30d",
    {
        "product": "product",
        **{one.column: one.name for one in FACETED},
        "attention": "attention",
    },
)
_FIELDS = _INSTALLATIONS.fields

FILTERS = (
    *_INSTALLATIONS.parameters,
    Parameter("seen", "Sent a ping within this time.", one_of(*RANGES)),
    Parameter("new", "Sent its first ping within this time.", one_of(*RANGES)),
    Parameter("q", "How the installation's id begins.", text(r"^[0-9a-fA-F-]{1,36}$")),
)


def filter_from(
    asked: Mapping[str, Any], now: datetime, *, within: Products, addresses: bool = False
) -> Filter:
    """The filter of installations in `asked`, limited to the products `within`. Raises BadFilter.

    Without `addresses`, the permission to see full ones, it names no address, and no smaller network than is
    shown.
    """
    wanted = _INSTALLATIONS.filter(asked, within=within)
    if not addresses and any(_names_addresses(one) for one in wanted.terms):
        raise BadFilter("Full addresses, and networks within a /24 or /48, need the permission addresses.")
    if "seen" in asked:
        wanted += term(_FIELDS["last_seen"], ">=", RANGES[asked["seen"]].since(now))
    if "new" in asked:
        wanted += term(_FIELDS["first_seen"], ">=", RANGES[asked["new"]].since(now))
    if "q" in asked:
        wanted += term(_FIELDS["id"], "=", asked["q"])
    return wanted
