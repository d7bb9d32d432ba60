"""The kernel's description of the first processor."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import Machine


def read(machine: Machine) -> dict[str, str]:
    """The fields of /proc/cpuinfo, whose names depend on the architecture; empty if there are none."""
    # On large machines the whole file takes long to make, and the first processor is at its start.
    return _fields((machine.text("/proc/cpuinfo", 16384) or "").partition("\n\n")[0])


def platform(machine: Machine) -> dict[str, str]:
    """The fields after the last processor; on POWER those are `platform`, `model` and `machine`."""
    return _fields((machine.text("/proc/cpuinfo", 1 << 20) or "").rstrip().rpartition("\n\n")[2])


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.split("\n"))
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}
