"""Whose address a request came from. Only configured proxies are believed, read from the right."""

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from socket import AF_INET, inet_pton

from telemetry_server.setting_types import Network


def client_address(peer: str | None, forwarded: Sequence[str], trusted: tuple[Network, ...]) -> str | None:
    """The address of the client, in its canonical form; None where there is none (a Unix socket).

    `peer` is the address the connection came from, `forwarded` the values of X-Forwarded-For in the
    order received. Each trusted proxy wrote down, at the right, who called it: the first address from
    the right that is no trusted proxy is the client. What stands further left is its own claim.
    """
    address = _canonical(peer or "")
    if not trusted or not forwarded:
        return address
    for hop in _from_the_right(forwarded):
        if address is None or not _is_trusted(address, trusted):
            return address
        nearer = _canonical(hop)
        if nearer is None:
            return address
        address = nearer
    return address


def _from_the_right(values: Iterable[str]) -> list[str]:
    """The elements that are not empty: those a recipient of a list ignores (RFC 9110, 5.6.1)."""
    return [part.strip() for part in ",".join(values).split(",") if part.strip()][::-1]


@lru_cache(maxsize=10_000)
def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed.version == network.version and parsed in network for network in trusted)


def _canonical(text: str) -> str | None:
    """IPv4-mapped IPv6 as IPv4, without zone, port or brackets; None for what is no address."""
    try:
        inet_pton(AF_INET, text)  # takes the canonical form of IPv4 only, in a tenth of the time
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
