"""The client's address. Only configured proxies are believed; X-Forwarded-For is read from the right."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from socket import AF_INET, inet_pton

from telemetry_server.setting_types import Network


def client_address(peer: str | None, forwarded: Sequence[str], trusted: tuple[Network, ...]) -> str | None:
    """The address of the client in canonical form; None if there is none (a Unix socket).

    `peer` is the address of the connection, `forwarded` the values of X-Forwarded-For in the order received.
    Each trusted proxy appended the address of its caller: the first address from the right that is not a
    trusted proxy is the client. Values further left are the client's own claims.
    """
    address = _canonical(peer or "")
    if not trusted or not forwarded:
        return address
    for hop in reversed(",".join(forwarded).split(",")):
        if not hop.strip():
            continue  # the recipient of a list ignores empty elements (RFC 9110, 5.6.1)
        if address is None or not _is_trusted(address, trusted):
            return address
        nearer = _canonical(hop.strip())
        if nearer is None:
            return address
        address = nearer
    return address


@lru_cache(maxsize=10_000)
def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed.version == network.version and parsed in network for network in trusted)


def _canonical(text: str) -> str | None:
    """The address without zone, port or brackets, IPv4-mapped IPv6 as IPv4; None for any other text."""
    try:
        inet_pton(AF_INET, text)  # accepts canonical IPv4 only, in a tenth of the time
    except (OSError, ValueError):
        pass
    else:
        return text
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
