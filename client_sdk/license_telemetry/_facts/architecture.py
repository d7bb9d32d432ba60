"""The processor architecture, under OpenTelemetry's host.arch names."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import Machine

UNAME_NAMES = {
    "x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "aarch64_be": "arm64",
    "ppc64": "ppc64", "ppc64le": "ppc64", "powerpc64": "ppc64", "powerpc64le": "ppc64", "ppc": "ppc32",
    "powerpc": "ppc32", "s390x": "s390x", "ia64": "ia64", "i86pc": "amd64", "x86": "x86",
}  # fmt: skip
ELF_MACHINES = {
    3: "x86", 20: "ppc32", 21: "ppc64", 22: "s390x", 40: "arm32", 50: "ia64", 62: "amd64", 183: "arm64",
    243: "riscv64", 258: "loongarch64",
}  # fmt: skip
PROGRAMS = ("/bin/sh", "/usr/bin/env", "/sbin/init", "/bin/busybox", "/usr/lib/systemd/systemd")


def name(machine: Machine) -> str | None:
    """amd64, arm64, x86, arm32 …, or the kernel's own name for one that OpenTelemetry doesn't list."""
    recorded = machine.line("/proc/sys/kernel/arch")
    if recorded:
        return _named(recorded)
    return _running() if machine.live else _of_programs(machine)


def _named(uname: str) -> str:
    lower = uname.lower()
    if lower[:1] == "i" and lower[2:] == "86":
        return "x86"
    if lower.startswith("arm") and lower not in UNAME_NAMES:
        return "arm32"
    return UNAME_NAMES.get(lower, lower)


def _running() -> str | None:
    if sys.platform == "win32":
        # A 32-bit or emulated process finds its own architecture in the first variable.
        native = os.environ.get("PROCESSOR_ARCHITEW6432") or os.environ.get("PROCESSOR_ARCHITECTURE")
    else:
        native = os.uname().machine
    return _named(native) if native else None


def _of_programs(machine: Machine) -> str | None:
    for path in PROGRAMS:
        header = machine.read(path, 20) or b""
        if header.startswith(b"\x7fELF"):
            little = header[5:6] == b"\1"
            return ELF_MACHINES.get(int.from_bytes(header[18:20], "little" if little else "big"))
    return None
