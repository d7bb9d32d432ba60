"""Which installations are asked for: the same words in the API, in the list and behind every bar.

Whatever is asked becomes one filter: the language in `filter`, and a parameter for each common term.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from telemetry_server.check.filter_parser import LONGEST_FILTER, parse_filter
from telemetry_server.check.filters import FIELDS, Filter, term
from telemetry_server.check.ranges import RANGES
from telemetry_server.routing import Parameter
from telemetry_server.show.query import one_of, text

STATUSES = FIELDS["status"].values
SOURCES = FIELDS["source"].values

FILTER = Parameter(
    "filter",
    "Terms that all must hold, e.g. verdict=unknown_key country=DE,FR version>=7.2 last_seen<30d. "
    + " ".join(f"{field.name}: {field.text}" for field in FIELDS.values()),
    text() | {"maxLength": LONGEST_FILTER},
)

_TERMS = {
    "product": "product",
    "verdict": "verdict",
    "license_status": "status",
    "license_source": "source",
    "version": "version",
    "edition": "edition",
    "environment": "environment",
    "os_name": "os",
    "vm": "vm",
    "container": "container",
    "cloud": "cloud",
    "country": "country",
    "asn": "asn",
    "life": "life",
    "attention": "attention",
}
"""The field that a parameter asks for."""

FILTERS = (
    FILTER,
    *(
        Parameter(name, FIELDS[field].text, one_of(*values) if (values := FIELDS[field].values) else text())
        for name, field in _TERMS.items()
    ),
    Parameter("seen", "Sent a ping within this time.", one_of(*RANGES)),
    Parameter("new", "Sent its first ping within this time.", one_of(*RANGES)),
    Parameter("q", "How the installation's id begins.", text(r"^[0-9a-fA-F-]{1,36}$")),
)


def filter_from(asked: Mapping[str, Any], now: datetime) -> Filter:
    """The filter in `asked`, as read by `read_query`; other names in it are left alone. Raises BadFilter."""
    wanted = parse_filter(asked.get("filter", ""))
    for name, field in _TERMS.items():
        if name in asked:
            wanted += term(field, "=", asked[name])
    if "seen" in asked:
        wanted += term("last_seen", ">=", RANGES[asked["seen"]].since(now))
    if "new" in asked:
        wanted += term("first_seen", ">=", RANGES[asked["new"]].since(now))
    if "q" in asked:
        wanted += term("id", "=", asked["q"])
    return wanted
