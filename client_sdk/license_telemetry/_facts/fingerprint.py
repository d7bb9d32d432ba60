"""Keyed digests of the values that identify this machine; raw values never leave this module."""

from __future__ import annotations

from . import firmware, processor
from .native import registry, sysctl_text
from .placeholders import is_placeholder, is_shared_address, is_shared_uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import Machine

HEX_DIGITS = frozenset("0123456789abcdef")
MACHINE_ID_DIGITS = 32
# Virtual disks whose serial is only their slot.
SHARED_DISKS = ("qemu", "qm0000", "drive-", "persistent-disk-", "virtio-disk")
PROCESSOR_KEYS = (
    "vendor_id", "cpu family", "model", "model name", "stepping",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "cpu", "uarch",
)  # fmt: skip
DISK_NAMES = ("wwid", "device/wwid", "serial", "device/serial", "dm/uuid")


def digests(product: str, machine: Machine) -> dict[str, str]:
    """A digest for each part that this machine has and the account may read."""
    dmi = firmware.read(machine)
    parts = {
        "machine_id": machine_id(machine),
        "board": _board(dmi),
        "board_serial": _own(dmi.get("board_serial")),
        "product_uuid": _own(dmi.get("product_uuid")),
        "mac": _mac(machine),
        "cpu": _processor(machine),
        "disk": _disk(machine),
    }
    digested = {part: digest(product, part, raw) for part, raw in parts.items()}
    return {part: value for part, value in digested.items() if value}


def digest(product: str, part: str, raw: str | None) -> str | None:
    """HMAC-SHA256 keyed with `raw` in lower case; None for an empty value."""
    value = (raw or "").strip().lower()
    if not value:
        return None
    import hmac  # noqa: PLC0415 - loads OpenSSL, and only a ping needs it

    message = f"license-telemetry\n{product}\n{part}".encode("utf-8", "replace")
    return hmac.new(value.encode("utf-8", "replace"), message, "sha256").hexdigest()


def machine_id(machine: Machine) -> str | None:
    """The installation's id: machine-id(5), FreeBSD's hostid, Windows' MachineGuid."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid"):
        value = (machine.line(path) or "").replace("-", "").lower()
        if len(value) == MACHINE_ID_DIGITS and HEX_DIGITS.issuperset(value) and not is_shared_uuid(value):
            return value
    return _own(registry(r"SOFTWARE\Microsoft\Cryptography", "MachineGuid")) if machine.live else None


def boot(machine: Machine) -> str | None:
    """What is new at each boot and the same until the next."""
    found = machine.line("/proc/sys/kernel/random/boot_id")
    if found or not machine.live:
        return _own(found)
    return sysctl_text("kern.bootsessionuuid") or sysctl_text("kern.boot_id")  # macOS, FreeBSD


def _own(value: str | None) -> str | None:
    return None if value is None or is_placeholder(value) else value


def _board(dmi: dict[str, str]) -> str | None:
    if not _own(dmi.get("board_name")):
        return None
    return "\n".join(dmi.get(field, "") for field in ("board_vendor", "board_name", "board_version"))


def _mac(machine: Machine) -> str | None:
    directory = "/sys/class/net/"
    addresses = (
        (machine.line(f"{directory}{name}/address") or "").lower()
        for name in machine.names(directory)
        if _is_built_in(machine, directory + name)
    )
    return min((address for address in addresses if not is_shared_address(address)), default=None)


def _is_built_in(machine: Machine, interface: str) -> bool:
    return (
        machine.exists(interface + "/device")  # bridges, tunnels and veths have none
        and machine.line(interface + "/addr_assign_type") in ("0", None)  # neither random nor set by hand
        and not (machine.line(interface + "/device/modalias") or "").startswith("usb:")
    )


def _processor(machine: Machine) -> str | None:
    cpu = processor.read(machine)
    return "\n".join(f"{key}={cpu[key]}" for key in PROCESSOR_KEYS if cpu.get(key)) or None


def _disk(machine: Machine) -> str | None:
    device = _root_device(machine)
    if device is None:
        return None
    block = f"/sys/class/block/{device}"
    if machine.exists(block + "/partition"):
        block += "/.."
    for name in DISK_NAMES:
        value = machine.line(f"{block}/{name}")
        if value and _is_serial(value):
            return value
    return _own(_file_system(machine, device))


def _is_serial(value: str) -> bool:
    slot = any(shared in value.lower() for shared in SHARED_DISKS)
    return any(map(str.isdigit, value)) and not slot and not is_placeholder(value)


def _root_device(machine: Machine) -> str | None:
    number, source = _root_mount(machine)
    if number and machine.exists(f"/sys/dev/block/{number}"):
        return machine.target(f"/sys/dev/block/{number}")
    return machine.target(source) if source.startswith("/dev/") else None  # btrfs has no device number


def _root_mount(machine: Machine) -> tuple[str, str]:
    """The root file system's device number and source, as proc_pid_mountinfo(5) has them, or empty."""
    for line in reversed((machine.text("/proc/self/mountinfo") or "").split("\n")):  # the last one is on top
        place, _, origin = line.partition(" - ")
        fields = place.split()
        if fields[4:5] == ["/"]:
            return fields[2], "".join(origin.split()[1:2])
    return "", ""


def _file_system(machine: Machine, device: str) -> str | None:
    directory = "/dev/disk/by-uuid/"
    return next(
        (uuid for uuid in machine.names(directory) if machine.target(directory + uuid) == device), None
    )
