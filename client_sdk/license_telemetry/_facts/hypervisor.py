"""The virtual machine's hypervisor, under the names that `systemd-detect-virt --vm` prints.

systemd asks the processor (CPUID), which Python cannot do; the kernel asked it at boot, and what it
then set up tells: the clocks it offers, the `hypervisor` flag, the buses and devices it found.
"""

from __future__ import annotations

from . import firmware, processor
from .native import sysctl_flag, sysctl_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import Machine

FIRMWARE_FIELDS = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")
FIRMWARE_STARTS = (
    ("KVM", "kvm"), ("OpenStack", "kvm"), ("KubeVirt", "kvm"), ("Amazon EC2", "amazon"), ("QEMU", "qemu"),
    ("VMware", "vmware"), ("VMW", "vmware"), ("innotek GmbH", "oracle"), ("VirtualBox", "oracle"),
    ("Oracle Corporation", "oracle"), ("Xen", "xen"), ("Bochs", "bochs"), ("Parallels", "parallels"),
    ("BHYVE", "bhyve"), ("Hyper-V", "microsoft"), ("Apple Virtualization", "apple"),
    ("Google Compute Engine", "google"),
)  # fmt: skip
# These are believed before the processor, because their guests are shown another hypervisor's signature.
FIRMWARE_DECIDES = frozenset(["oracle", "xen", "amazon", "parallels", "google"])

CLOCKS = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
KVM_CLOUDS = frozenset(
    ["akamai_cloud", "alibaba_cloud", "digitalocean", "exoscale", "hetzner", "huawei_cloud", "ibm_cloud",
     "outscale", "scaleway_cloud", "tencent_cloud", "upcloud", "vultr", "yandex_cloud"]
)  # fmt: skip
DEVICE_MAKERS = (
    ("0x15ad", "vmware"), ("0x80ee", "oracle"), ("0x1414", "microsoft"), ("0x5853", "xen"),
    ("0x1ab8", "parallels"), ("0x1af4", "kvm"), ("0x1b36", "kvm"), ("0x1234", "kvm"),
)  # fmt: skip
FREEBSD_GUESTS = {
    "generic": "vm-other", "xen": "xen", "hv": "microsoft", "vmware": "vmware", "kvm": "kvm",
    "bhyve": "bhyve", "vbox": "oracle", "parallels": "parallels", "nvmm": "vm-other",
}  # fmt: skip
MAC_MODELS = (("VMware", "vmware"), ("Parallels", "parallels"), ("VirtualMac", "apple"))


def vm(machine: Machine, dmi: dict[str, str], cloud: str | None) -> str | None:
    """The hypervisor's name; `vm-other` for one that is there but unknown; None on bare metal."""
    named = _from_firmware(machine, dmi)
    if named in FIRMWARE_DECIDES:
        return named
    cpu = processor.read(machine)
    if cpu.get("vendor_id", "").startswith("User Mode Linux"):
        return "uml"
    clocks = (machine.line(CLOCKS) or "").split()
    if _under_xen(machine, clocks):
        return None if _controls_xen(machine) else "xen"
    if "kvm-clock" in clocks:
        return "kvm"
    flag = "hypervisor" in cpu["flags"].split() if "flags" in cpu else None
    if named == "qemu" and flag and not clocks and "TCG" not in cpu.get("model name", ""):
        return "kvm"
    return (
        (named if named != "vm-other" else None)
        or _from_device_tree(machine)
        or _from_sysinfo(machine)
        or _microsoft(machine, dmi, clocks, flag)
        or ("kvm" if cloud in KVM_CLOUDS and flag is not False else None)
        or (_from_devices(machine) if flag else None)
        or ("vm-other" if flag or named or machine.line("/sys/hypervisor/type") else None)
        or (_from_sysctl() if machine.live else None)
    )


def _from_firmware(machine: Machine, dmi: dict[str, str]) -> str | None:
    values = [dmi[field] for field in FIRMWARE_FIELDS if field in dmi]
    matches = (name for value in values for start, name in FIRMWARE_STARTS if value.startswith(start))
    named = next(matches, None)
    if named == "amazon":
        return None if _amazon_metal(machine, dmi) else named
    return named or ("vm-other" if firmware.says_virtual(machine) else None)


def _amazon_metal(machine: Machine, dmi: dict[str, str]) -> bool:
    virtual = firmware.says_virtual(machine)
    if virtual is not None:
        return not virtual
    _, metal, rest = dmi.get("product_name", "").partition(".metal")
    return bool(metal) and rest[:1] in ("", "-")


def _under_xen(machine: Machine, clocks: list[str]) -> bool:
    return machine.exists("/proc/xen") or "xen" in clocks or machine.line("/sys/hypervisor/type") == "xen"


def _controls_xen(machine: Machine) -> bool:
    try:
        dom0 = 1 << 11
        return bool(int(machine.line("/sys/hypervisor/properties/features") or "", 16) & dom0)
    except ValueError:
        return "control_d" in (machine.line("/proc/xen/capabilities") or "").split(",")


def _from_device_tree(machine: Machine) -> str | None:
    tree = "/proc/device-tree/"
    hypervisor = machine.line(tree + "hypervisor/compatible")
    if hypervisor:
        known = {"linux,kvm": "kvm"}.get(hypervisor)
        return known or next((name for name in ("xen", "vmware") if name in hypervisor), "vm-other")
    managed = machine.exists(tree + "ibm,partition-name") and machine.exists(tree + "hmc-managed?")
    if managed and not machine.exists(tree + "chosen/qemu,graphic-width"):
        return "powervm"
    emulated = any("fw-cfg" in name for name in machine.names(tree))
    return "qemu" if emulated or machine.line(tree + "compatible") == "qemu,pseries" else None


def _from_sysinfo(machine: Machine) -> str | None:
    for line in (machine.text("/proc/sysinfo") or "").split("\n"):  # of s390 only
        key, _, value = line.partition(":")
        if key.strip() == "VM00 Control Program":
            return "zvm" if value.split()[:1] == ["z/VM"] else "kvm"
    return None


def _microsoft(machine: Machine, dmi: dict[str, str], clocks: list[str], flag: bool | None) -> str | None:
    kernel = machine.line("/proc/sys/kernel/osrelease") or ""
    seen = (
        any("hyperv_clocksource" in clock for clock in clocks)
        or machine.exists("/sys/bus/vmbus")
        or (dmi.get("sys_vendor"), dmi.get("product_name")) == ("Microsoft Corporation", "Virtual Machine")
        or (flag and ("Microsoft" in kernel or "WSL" in kernel))
    )
    return "microsoft" if seen else None


def _from_devices(machine: Machine) -> str | None:
    directory = "/sys/bus/pci/devices/"
    makers = {machine.line(f"{directory}{device}/vendor") for device in machine.names(directory)[:64]}
    known = next((name for maker, name in DEVICE_MAKERS if maker in makers), None)
    return known or ("kvm" if machine.names("/sys/bus/virtio/devices") else None)


def _from_sysctl() -> str | None:
    guest = FREEBSD_GUESTS.get(sysctl_text("kern.vm_guest") or "")
    if guest or not sysctl_flag("kern.hv_vmm_present"):
        return guest
    model = sysctl_text("hw.model") or ""
    return next((name for start, name in MAC_MODELS if model.startswith(start)), "vm-other")
