"""IP networks of both versions. Pure."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")

_SHORTENED = {4: 24, 6: 48}


def network_of(address: str) -> Network:
    """The network that an address is shortened to: its /24 or /48. Raises ValueError."""
    parsed = ip_address(address)
    return ip_network((parsed, _SHORTENED[parsed.version]), strict=False)


def unmapped(network: Network) -> Network:
    """The IPv4 network of an IPv4-mapped one (::ffff:192.0.2.0/120), or the network itself."""
    if isinstance(network, IPv4Network) or not network.subnet_of(_MAPPED):
        return network
    number = int(network.network_address) & 0xFFFF_FFFF
    return IPv4Network((number, network.prefixlen - _MAPPED.prefixlen))
