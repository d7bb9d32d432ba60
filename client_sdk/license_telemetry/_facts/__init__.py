"""What kind of machine this is: operating system, virtualization, cloud, fingerprint.

Everything is read from files that any account may read; no subprocess, no network, no privilege.
Nothing here raises or blocks: an absent, unreadable or invalid value is None. Each function takes the
`root` of a machine's files, `/` for this machine; another root is a recorded machine, for which the running
process is not inspected. All values keep the limits of the field registry.
"""

from __future__ import annotations

import sys

from . import architecture, cloud, container, fingerprint, firmware, hypervisor
from .limits import name, string
from .machine import Machine
from .system import identify

TYPE_CHECKING = False  # importing typing would cost more than this whole package
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import TypeVar

    Root = str | os.PathLike[str]
    Fact = TypeVar("Fact")

__all__ = ["boot_id", "host", "machine_digest", "operating_system", "runtime", "virtualization"]


def operating_system(root: Root = "/") -> dict[str, str | None]:
    """`type` (linux, darwin, windows …), `name` (os-release's ID), `version` (VERSION_ID) and `kernel`.

    `name` is in lower case; os-release(5) demands it, and not every distribution complies.
    """
    kind, distribution, version, kernel = _safely(lambda: identify(Machine(root))) or (None,) * 4
    return {
        "type": name(kind),
        "name": string((distribution or "").lower()),
        "version": string(version),
        "kernel": string(kernel, 128),
    }


def virtualization(root: Root = "/") -> dict[str, str | None]:
    """`vm` and `container` as systemd-detect-virt's --vm and --container print them, and `cloud`, or None.

    Cloud providers have the names of OpenTelemetry's cloud.provider where there is one.
    """
    machine = Machine(root)
    dmi = _safely(lambda: firmware.read(machine)) or {}
    provider = _safely(lambda: cloud.provider(machine, dmi))
    return {
        "vm": name(_safely(lambda: hypervisor.vm(machine, dmi, provider))),
        "container": name(_safely(lambda: container.manager(machine))),
        "cloud": name(provider),
    }


def host(product: str, root: Root = "/") -> dict[str, str | dict[str, str] | None]:
    """`arch` (OpenTelemetry's host.arch) and `fingerprint`, a map of part to 64 hex digits.

    Each digest is HMAC-SHA256 keyed with the raw value over the product's slug and the part's name: two
    products cannot compare theirs, and the raw value never leaves this package.
    """
    machine = Machine(root)
    return {
        "arch": name(_safely(lambda: architecture.name(machine))),
        "fingerprint": _safely(lambda: fingerprint.digests(product, machine)) or {},
    }


def boot_id(product: str, root: Root = "/") -> str | None:
    """A keyed digest of this boot of the system, 64 hex digits."""
    return _safely(lambda: fingerprint.digest(product, "boot_id", fingerprint.boot(Machine(root))))


def machine_digest(product: str, root: Root = "/") -> str | None:
    """The fingerprint's `machine_id` part alone, 64 hex digits."""
    return _safely(lambda: fingerprint.digest(product, "machine_id", fingerprint.machine_id(Machine(root))))


def runtime() -> dict[str, str | None]:
    """`name` (cpython, pypy …) and `version` of the language runtime."""
    version = ".".join(str(part) for part in sys.implementation.version[:3])
    return {"name": string(sys.implementation.name), "version": string(version)}


def _safely(detect: Callable[[], Fact]) -> Fact | None:
    # A detector that fails on an unknown machine must cost one fact, not the host application.
    try:
        return detect()
    except Exception:
        return None
