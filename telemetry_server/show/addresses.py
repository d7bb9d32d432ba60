"""Addresses for those who may not see them in full: their networks, as after the retention of addresses."""

from collections.abc import Iterable
from ipaddress import ip_interface, ip_network
from typing import Any

from telemetry_server.permissions import Permission
from telemetry_server.show.viewer import Viewer
from telemetry_server.store.fleet.installations import Row

KEPT_BITS = {4: 24, 6: 48}
"""How much of an address, by IP version, everyone sees."""


def shown_to(viewer: Viewer, rows: Iterable[Row]) -> list[Row]:
    """The rows, with client_address and hostname as the viewer may see them, also as what changed."""
    if Permission.ADDRESSES in viewer.permissions:
        return list(rows)
    return [_without_addresses(row) for row in rows]


def shortened(address: str | None) -> str | None:
    """The network of an address: IPv4 /24, IPv6 /48; a network that is as wide stays."""
    if address is None:
        return None
    found = ip_interface(address)
    bits = min(found.network.prefixlen, KEPT_BITS[found.version])
    return str(ip_network(f"{found.ip}/{bits}", strict=False))


def _without_addresses(row: Row) -> Row:
    if hide := _HIDDEN.get(row.get("field", "")):
        return row | {name: hide(row[name]) for name in ("before", "after")}
    return row | {name: hide(row[name]) for name, hide in _HIDDEN.items() if name in row}


def _hidden(_: Any) -> None:
    return None


_HIDDEN = {"client_address": shortened, "hostname": _hidden, "hostname_looked_up_at": _hidden}
