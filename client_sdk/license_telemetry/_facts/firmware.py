"""The firmware's description of the machine: the strings of the DMI (SMBIOS) tables."""

from __future__ import annotations

from .native import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import Machine

DIRECTORY = "/sys/class/dmi/id/"
FIELDS = (
    "sys_vendor", "product_name", "product_version", "product_serial", "product_uuid",
    "board_vendor", "board_name", "board_version", "board_serial",
    "bios_vendor", "bios_version", "chassis_vendor", "chassis_asset_tag",
)  # fmt: skip
WINDOWS_KEY = r"HARDWARE\DESCRIPTION\System\BIOS"
WINDOWS_VALUES = {
    "sys_vendor": "SystemManufacturer",
    "product_name": "SystemProductName",
    "product_version": "SystemVersion",
    "board_vendor": "BaseBoardManufacturer",
    "board_name": "BaseBoardProduct",
    "board_version": "BaseBoardVersion",
    "bios_vendor": "BIOSVendor",
    "bios_version": "BIOSVersion",
}


def read(machine: Machine) -> dict[str, str]:
    """Every field that can be read without privileges, under Linux's names for them; others are missing."""
    found = {field: machine.line(DIRECTORY + field) for field in FIELDS}
    if machine.live and not any(found.values()):
        found = {field: registry(WINDOWS_KEY, value) for field, value in WINDOWS_VALUES.items()}
    return {field: value for field, value in found.items() if value}


def says_virtual(machine: Machine) -> bool | None:
    """SMBIOS's own bit for "this is a virtual machine"; None when it can't be read, which takes root."""
    bios = machine.read("/sys/firmware/dmi/entries/0-0/raw", 256)
    extension = 19  # byte 2 of the BIOS characteristics' extension; its bit 4 means virtual
    if bios is None or len(bios) <= extension or bios[1] <= extension:
        return None
    return bool(bios[extension] & 1 << 4)
