"""The choices of the simulation. All values are simulated, or too common to identify a party.

Addresses are from 240.0.0.0/4 and 2001:db8::/32, AS numbers are those for private use (RFC 6996), and names
begin with "Example".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import orjson

from telemetry_server.simulate.dice import Dice, Weighted, zipf

DAY = 86_400_000
"""In milliseconds, like all times of this folder."""

COUNTRIES = (
    *("US", "DE", "IN", "GB", "FR", "BR", "NL", "CA", "AU", "IT", "ES", "PL", "TR", "ID", "JP", "MX", "UA"),
    *("SE", "CH", "RO", "CZ", "VN", "ZA", "AR", "SG", "BE", "AT", "DK", "PT", "RU", "GR", "HU", "TH", "CO"),
    *("CL", "MY", "PH", "NG", "EG", "IL", "NO", "FI", "IE", "BG", "KE", "PK", "BD", "HK", "KR", "AE", "SA"),
)
_CLOUDS_OF = {
    "aws": ("US", "DE", "IN", "GB", "FR", "BR", "CA", "AU", "IT", "JP", "SG", "SE", "IE", "ZA", "KR", "AE"),
    "azure": ("US", "DE", "IN", "GB", "FR", "BR", "NL", "CA", "AU", "JP", "SG", "CH", "IE", "ZA", "NO"),
    "gcp": ("US", "DE", "IN", "GB", "NL", "BR", "CA", "AU", "JP", "SG", "BE", "PL", "FI", "CL", "IL"),
    "digitalocean": ("US", "DE", "IN", "GB", "NL", "CA", "AU", "SG"),
    "hetzner": ("DE", "FI", "US", "SG"),
    "ovh": ("FR", "CA", "DE", "GB", "PL", "AU"),
    "vultr": ("US", "JP", "AU", "KR", "MX", "PL"),
}

# The shares of systems, by the habits of a country and the images of a cloud.
_SYSTEMS = {
    "debian": (
        ("debian", "12", "6.1.0-31-amd64"),
        ("debian", "13", "6.12.38+deb13-amd64"),
        ("debian", "11", "5.10.0-34-amd64"),
    ),
    "ubuntu": (
        ("ubuntu", "24.04", "6.8.0-60-generic"),
        ("ubuntu", "22.04", "5.15.0-140-generic"),
        ("ubuntu", "20.04", "5.4.0-216-generic"),
    ),
    "el": (
        ("almalinux", "9.6", "5.14.0-570.12.1.el9_6.x86_64"),
        ("cloudlinux", "8.10", "4.18.0-553.50.1.lve.el8.x86_64"),
        ("rocky", "9.5", "5.14.0-503.40.1.el9_5.x86_64"),
        ("almalinux", "8.10", "4.18.0-553.54.1.el8_10.x86_64"),
        ("rhel", "9.4", "5.14.0-427.70.1.el9_4.x86_64"),
        ("centos", "7", "3.10.0-1160.119.1.el7.x86_64"),
    ),
    "amazon": (
        ("amzn", "2023", "6.1.134-152.225.amzn2023.aarch64"),
        ("amzn", "2", "5.10.237-230.949.amzn2.x86_64"),
    ),
    "suse": (("sles", "15.6", "6.4.0-150600.23.47-default"),),
    "windows": (("windows", "2022", "10.0.20348"), ("windows", "2019", "10.0.17763")),
    "freebsd": (("freebsd", "14.2", "14.2-RELEASE"),),
}
_TASTES = {
    "debian": (("debian", 54), ("ubuntu", 26), ("el", 14), ("suse", 3), ("windows", 3)),
    "ubuntu": (("ubuntu", 45), ("el", 30), ("debian", 15), ("windows", 8), ("freebsd", 2)),
    "el": (("el", 54), ("ubuntu", 28), ("debian", 12), ("windows", 6)),
    "aws": (("amazon", 38), ("ubuntu", 36), ("el", 14), ("debian", 8), ("windows", 4)),
    "azure": (("ubuntu", 38), ("windows", 30), ("el", 20), ("debian", 12)),
}
_LIKES_DEBIAN = {"DE", "AT", "CH", "FR", "NL", "BE", "CZ", "PL", "SE", "DK", "NO", "FI", "ES", "IT", "RU"}
_LIKES_UBUNTU = {"US", "CA", "GB", "AU", "IN", "IE", "SG", "ZA", "IL", "HK", "KR", "PH"}

# (hypervisor, container manager, weight), as systemd-detect-virt prints them
_RUNS_ON: dict[str, tuple[tuple[str | None, str | None, float], ...]] = {
    "aws": (("amazon", None, 62), ("amazon", "docker", 18), ("amazon", "container-other", 20)),
    "azure": (("microsoft", None, 68), ("microsoft", "docker", 14), ("microsoft", "container-other", 18)),
    "gcp": (("google", None, 48), ("google", "docker", 16), ("google", "container-other", 36)),
    "cloud": (("kvm", None, 74), ("kvm", "docker", 20), ("kvm", "podman", 2), ("kvm", "lxc", 4)),
    "hosting": (
        ("kvm", None, 40),
        (None, None, 18),
        ("vmware", None, 10),
        ("kvm", "docker", 10),
        (None, "lxc", 8),
        (None, "openvz", 5),
        (None, "docker", 5),
        ("xen", None, 4),
    ),
    "telecom": (
        ("vmware", None, 38),
        (None, None, 27),
        ("microsoft", None, 12),
        ("kvm", None, 9),
        ("vmware", "docker", 5),
        (None, "docker", 5),
        ("oracle", None, 2),
        ("kvm", "podman", 2),
    ),
}

_SHARED = {"vpn": "hosting", "cdn": "hosting", "mobile": "telecom"}
"""The networks that many customers share, and the kind of network whose servers theirs are like."""
EDITIONS = {"starter": "Starter", "business": "Business", "enterprise": "Enterprise"}
SOURCES = {
    "direct": (None,),
    "reseller": ("Example Resale", "Example Distribution", "Example Systems House"),
    "marketplace": ("example-market", "example-plugins"),
    "bundle": ("Example Hosting Pack", "Example Server Pack"),
    "gift": (None,),
}
FEATURES = tuple(
    f"{area}.{what}"
    for area in ("invoice", "order", "ticket", "domain", "server", "report")
    for what in ("created", "viewed", "updated", "deleted", "exported", "searched", "mailed", "paid")
)


class System(NamedTuple):
    """An operating system, as in os-release and uname."""

    name: str
    version: str
    kernel: str

    @property
    def type(self) -> str:
        return self.name if self.name in {"windows", "freebsd"} else "linux"

    @property
    def runtime(self) -> tuple[str, str]:
        return ("php", "8.2.28") if self.name in {"debian", "windows"} else ("php", "8.3.21")


@dataclass(frozen=True, slots=True)
class Network:
    """A network operator's part in a country. `place` is the JSON object that the server would store."""

    number: int
    asn: int
    country: str
    kind: str
    cloud: str | None
    place: str
    systems: Weighted[Sequence[System]]
    runs_on: Weighted[tuple[str | None, str | None]]

    @property
    def blocks(self) -> tuple[str, str]:
        """All its IPv4 addresses, and all its IPv6 ones."""
        return f"{self._address(0)}/16", f"2001:db8:{self.number:x}::/48"

    def address(self, dice: Dice) -> str:
        """One of its addresses; one in ten is IPv6."""
        if dice.chance(0.1):
            return f"2001:db8:{self.number:x}:{dice.number(1, 0xFFFF):x}::{dice.number(1, 0xFFFF):x}"
        return self._address(dice.number(0x0101, 0xFFFE))

    def _address(self, host: int) -> str:
        high, low = 240 + (self.number >> 8), self.number & 0xFF
        return f"{high}.{low}.{host >> 8}.{host & 0xFF}"


@dataclass(frozen=True, slots=True)
class Release:
    """A version of the software and the time of its release."""

    version: str
    released_at: int
    build: str


def releases(begin: int, end: int) -> tuple[Release, ...]:
    """Six releases before `begin`, and nine in regular steps until shortly before `end`."""
    step = (end - begin) // 10
    return tuple(
        Release(f"7.{number // 3}.{number % 3}", begin + (number - 5) * step, f"b{1000 + 37 * number}")
        for number in range(15)
    )


@cache
def networks() -> dict[str, Weighted[Network]]:
    """The networks of each country: a few large ones, many small ones."""
    made: dict[str, list[tuple[Network, float]]] = {}
    number = 0
    for rank, country in enumerate(COUNTRIES):
        size = max(3, 24 // (1 + rank // 4))
        clouds = [cloud for cloud, countries in _CLOUDS_OF.items() if country in countries]
        shares = {"cloud": 0.35 if clouds else 0, "hosting": 0.4, "telecom": 0.25}
        for kind, names in {"cloud": clouds, "hosting": range(size), "telecom": range(size)}.items():
            weighted = zipf([str(name) for name in names], 1.1)
            whole = sum(weight for _, weight in weighted)
            for name, weight in weighted:
                made.setdefault(country, []).append(
                    (_network(number, country, kind, name), shares[kind] * weight / whole)
                )
                number += 1
    return {country: Weighted(weighted) for country, weighted in made.items()}


@cache
def countries() -> Weighted[str]:
    return Weighted(zipf(COUNTRIES, 1.1))


@cache
def network_of_kind(kind: str, country: str) -> Network:
    """The network of a service that many customers share, in that country: vpn, cdn or mobile."""
    number = 2000 + list(_SHARED).index(kind) * len(COUNTRIES) + COUNTRIES.index(country)
    return _network(number, country, kind, "0")


def _network(number: int, country: str, kind: str, name: str) -> Network:
    cloud = name if kind == "cloud" else None
    organisation = f"Example Cloud {name}" if cloud else f"Example {kind.title()} {country} {int(name) + 1}"
    asn = 4_200_000_000 + number
    known = cloud if cloud in _RUNS_ON else _SHARED.get(kind, kind)
    place = {
        "country": country,
        "asn": asn,
        "organisation": organisation,
        "hosting": kind not in {"telecom", "mobile"},
        "source": "simulated",
        "prefix_length": 16,
    }
    taste = cloud if cloud in _TASTES else _taste(country)
    assert taste is not None
    assert known is not None
    return Network(
        number, asn, country, kind, cloud, orjson.dumps(place).decode(), _systems(taste), _runs_on(known)
    )


def _taste(country: str) -> str:
    return "debian" if country in _LIKES_DEBIAN else "ubuntu" if country in _LIKES_UBUNTU else "el"


@cache
def _systems(taste: str) -> Weighted[Sequence[System]]:
    """Each system, followed by its possible upgrades."""
    weighted = []
    for family, share in _TASTES[taste]:
        members = [System(*row) for row in _SYSTEMS[family]]
        for system, weight in zipf(members, 0.9):
            later = [other for other in members if other.name == system.name and other > system]
            weighted.append(((system, *later), share * weight / sum(w for _, w in zipf(members, 0.9))))
    return Weighted(weighted)


@cache
def _runs_on(known: str) -> Weighted[tuple[str | None, str | None]]:
    return Weighted(((vm, container), share) for vm, container, share in _RUNS_ON[known])
