"""What the kernel says of the first processor."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import Machine


def read(machine: Machine) -> dict[str, str]:
    """The fields of /proc/cpuinfo, whose names differ between architectures; empty where there are none."""
    # On large machines the whole file takes long to make, and the first processor is at its start.
    text = machine.text("/proc/cpuinfo", 16384) or ""
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].split("\n"))
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}
