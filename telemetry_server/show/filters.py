"""Which installations are asked for: the same words in the API, in the list and behind every bar."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from telemetry_server.check.registry import load_registry
from telemetry_server.routing import Parameter
from telemetry_server.show.query import one_of, text
from telemetry_server.show.ranges import RANGES
from telemetry_server.store.fleet import HIGHEST, LOWEST, Filters

_FIELDS = load_registry().fields
STATUSES = _FIELDS["license.status"].values
SOURCES = _FIELDS["license.source"].values
ATTENTION = ("missing", "lost", "forked")
_UUID_DIGITS = 32

FILTERS = (
    Parameter("product", "The product's slug.", text()),
    Parameter("license_status", "What the copy says of its license.", one_of(*STATUSES)),
    Parameter(
        "license_source", "Where it says the license is from; unknown if it doesn't.", one_of(*SOURCES)
    ),
    Parameter("version", "The version of the vendor's software, or unknown.", text()),
    Parameter("country", "ISO 3166-1 alpha-2 code of the address, or unknown.", text()),
    Parameter("os_name", "The distribution's ID, or unknown.", text()),
    Parameter("vm", "The hypervisor; none on bare metal, unknown if not told.", text()),
    Parameter("container", "The container manager; none outside one, unknown if not told.", text()),
    Parameter("cloud", "The cloud provider; none found, or unknown if not told.", text()),
    Parameter("seen", "Sent a ping within this time.", one_of(*RANGES)),
    Parameter("new", "Sent its first ping within this time.", one_of(*RANGES)),
    Parameter("attention", "Pings are missing, given up as lost, or forked.", one_of(*ATTENTION)),
    Parameter("q", "How the installation's id begins.", text(r"^[0-9a-fA-F-]{1,36}$")),
)

_SAME = {"product", "license_status", "license_source", "version", "country", "os_name"}
_SAME |= {"vm", "container", "cloud", "attention"}


def filters_from(asked: Mapping[str, Any], now: datetime) -> Filters:
    """The filters in `asked`, as read by `read_query`; other names in it are left alone."""
    lowest, highest = identities(asked.get("q", ""))
    return Filters(
        from_id=lowest,
        to_id=highest,
        seen_since=RANGES[asked["seen"]].since(now) if "seen" in asked else None,
        new_since=RANGES[asked["new"]].since(now) if "new" in asked else None,
        **{name: asked[name] for name in _SAME & asked.keys()},
    )


def identities(prefix: str) -> tuple[UUID, UUID]:
    """The lowest and the highest identity that begins with `prefix`."""
    digits = prefix.replace("-", "")[:_UUID_DIGITS]
    if not digits:
        return LOWEST, HIGHEST
    return UUID(digits.ljust(_UUID_DIGITS, "0")), UUID(digits.ljust(_UUID_DIGITS, "f"))
