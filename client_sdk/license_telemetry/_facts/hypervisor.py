"""The virtual machine's hypervisor, under the names that `systemd-detect-virt --vm` prints.

systemd asks the processor (CPUID), which Python cannot do. The kernel asked it at boot, and its setup shows
the answer: the clocks it offers, the `hypervisor` flag, the buses and devices it found.
"""

from __future__ import annotations

from . import firmware, processor
from .native import sysctl_flag, sysctl_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import Machine

FIRMWARE_FIELDS = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")
FIRMWARE_STARTS = (
    ("KVM", "kvm"), ("OpenStack", "kvm"), ("KubeVirt", "kvm"), ("AHV", "kvm"), ("Alibaba Cloud ECS", "kvm"),
    ("Amazon EC2", "amazon"), ("QEMU", "qemu"), ("VMware", "vmware"), ("VMW", "vmware"),
    ("innotek GmbH", "oracle"), ("VirtualBox", "oracle"), ("Oracle Corporation", "oracle"), ("Xen", "xen"),
    ("Bochs", "bochs"), ("Parallels", "parallels"), ("BHYVE", "bhyve"), ("Hyper-V", "microsoft"),
    ("Apple Virtualization", "apple"), ("Google Compute Engine", "google"),
)  # fmt: skip
# Names of vendors, who also put them into physical machines.
ALSO_METAL = frozenset(
    ["OpenStack", "Alibaba Cloud ECS", "Amazon EC2", "Oracle Corporation", "Google Compute Engine"]
)
# These are believed before the processor, because their guests are shown another hypervisor's signature.
FIRMWARE_DECIDES = frozenset(["oracle", "xen", "amazon", "parallels", "google"])

CLOCKS = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
XEN_FEATURES = "/sys/hypervisor/properties/features"
DEVICE_TREES = ("/proc/device-tree/", "/sys/firmware/devicetree/base/")  # the first is a link to the second
LPAR_CONFIGURATIONS = ("/proc/ppc64/lparcfg", "/proc/powerpc/lparcfg")
EMULATORS = ("qemu", "bochs")  # Bochs' strings are also those of QEMU's early firmware
KVM_CLOUDS = frozenset(
    ["akamai_cloud", "digitalocean", "exoscale", "hetzner", "huawei_cloud", "ibm_cloud",
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
    cpu = processor.read(machine)
    if cpu.get("vendor_id", "").startswith("User Mode Linux"):
        return "uml"
    clocks = (machine.line(CLOCKS) or "").split()
    flag = "hypervisor" in cpu["flags"].split() if "flags" in cpu else None  # x86 only
    xen = _under_xen(machine, clocks)
    controls = xen and _controls_xen(machine)
    if controls:  # Xen set the clocks and the flag; what may be below Xen shows elsewhere
        clocks, flag = [], None
    named = _from_firmware(machine, dmi, flag)
    if named in FIRMWARE_DECIDES:
        return named
    if xen and not controls:
        return "xen"
    if "kvm-clock" in clocks:
        return "kvm"
    accelerated = not clocks or _offered_by_hyper_v(clocks)  # QEMU offers that clock only with KVM
    if named in EMULATORS and (flag or controls) and accelerated and "TCG" not in cpu.get("model name", ""):
        return "kvm"
    return (
        (named if named != "vm-other" else None)
        or _from_device_tree(machine)
        or _from_partition(machine, cpu)
        or _from_sysinfo(machine)
        or _microsoft(machine, dmi, clocks, flag)
        or ("kvm" if cloud in KVM_CLOUDS and flag is not False else None)
        or (_from_devices(machine) if flag else None)
        or ("vm-other" if flag or named or _is_some_guest(machine) else None)
        or (_from_sysctl() if machine.live else None)
    )


def _from_firmware(machine: Machine, dmi: dict[str, str], flag: bool | None) -> str | None:
    values = [dmi[field] for field in FIRMWARE_FIELDS if field in dmi]
    matches = (match for value in values for match in FIRMWARE_STARTS if value.startswith(match[0]))
    start, name = next(matches, ("", None))
    virtual = firmware.says_virtual(machine)
    if start in ALSO_METAL and _is_sold_as_metal(start, dmi, virtual, flag):
        name = None
    return name or ("vm-other" if virtual else None)


def _is_sold_as_metal(seller: str, dmi: dict[str, str], virtual: bool | None, flag: bool | None) -> bool:
    if seller == "Oracle Corporation" and dmi.get("sys_vendor", "").startswith(seller):
        return True  # a server of Oracle's, or the strings of one; VirtualBox is named on the board only
    if virtual or flag is not None:
        return not virtual and not flag
    _, metal, rest = dmi.get("product_name", "").partition(".metal")
    return seller == "Amazon EC2" and (virtual is False or (bool(metal) and rest[:1] in ("", "-")))


def _under_xen(machine: Machine, clocks: list[str]) -> bool:
    return (
        "xen" in clocks
        or machine.exists("/proc/xen")
        or machine.line("/sys/hypervisor/type") == "xen"
        or machine.line(XEN_FEATURES) is not None
        or bool(machine.names("/sys/bus/xen/devices"))  # the bus alone is in every kernel that could use it
    )


def _controls_xen(machine: Machine) -> bool:
    try:
        dom0 = 1 << 11
        return bool(int(machine.line(XEN_FEATURES) or "", 16) & dom0)
    except ValueError:
        return "control_d" in (machine.line("/proc/xen/capabilities") or "").split(",")


def _from_device_tree(machine: Machine) -> str | None:
    tree = _device_tree(machine)
    hypervisor = machine.line(tree + "hypervisor/compatible")
    if hypervisor:
        known = {"linux,kvm": "kvm"}.get(hypervisor)
        return known or next((name for name in ("xen", "vmware") if name in hypervisor), "vm-other")
    managed = machine.exists(tree + "ibm,partition-name") and machine.exists(tree + "hmc-managed?")
    if managed and not machine.exists(tree + "chosen/qemu,graphic-width"):
        return "powervm"
    emulated = any("fw-cfg" in name for name in machine.names(tree))
    return "qemu" if emulated or machine.line(tree + "compatible") == "qemu,pseries" else None


def _device_tree(machine: Machine) -> str:
    return next(filter(machine.exists, DEVICE_TREES), DEVICE_TREES[0])


def _from_partition(machine: Machine, cpu: dict[str, str]) -> str | None:
    """PowerVM's or KVM's partition, also where a container hides the device tree."""
    partition = next(filter(None, map(machine.text, LPAR_CONFIGURATIONS)), "")
    if not partition and not cpu.get("cpu", "").upper().startswith("POWER"):
        return None
    platform = processor.platform(machine)
    if "emulated by qemu" in partition + platform.get("machine", ""):
        return "kvm"
    return "powervm" if partition or platform.get("platform") == "pSeries" else None  # or else PowerNV: metal


def _from_sysinfo(machine: Machine) -> str | None:
    for line in (machine.text("/proc/sysinfo") or "").split("\n"):  # of s390 only
        key, _, value = line.partition(":")
        if key.strip() == "VM00 Control Program":
            return "zvm" if value.split()[:1] == ["z/VM"] else "kvm"
    return None


def _microsoft(machine: Machine, dmi: dict[str, str], clocks: list[str], flag: bool | None) -> str | None:
    vendor = dmi.get("sys_vendor")
    kernel = machine.line("/proc/sys/kernel/osrelease") or ""
    if machine.names("/sys/bus/vmbus/devices") or (
        (vendor, dmi.get("product_name")) == ("Microsoft Corporation", "Virtual Machine")
    ):
        return "microsoft"
    if _offered_by_hyper_v(clocks) or (flag and ("Microsoft" in kernel or "WSL" in kernel)):
        # KVM imitates Hyper-V for Windows, but its firmware names another maker.
        return "microsoft" if vendor in ("Microsoft Corporation", None) else "kvm"
    return None


def _offered_by_hyper_v(clocks: list[str]) -> bool:
    return any("hyperv_clocksource" in clock for clock in clocks)


def _from_devices(machine: Machine) -> str | None:
    directory = "/sys/bus/pci/devices/"
    makers = {machine.line(f"{directory}{device}/vendor") for device in machine.names(directory)[:64]}
    known = next((name for maker, name in DEVICE_MAKERS if maker in makers), None)
    return known or ("kvm" if machine.names("/sys/bus/virtio/devices") else None)


def _is_some_guest(machine: Machine) -> bool:
    other = machine.line("/sys/hypervisor/type") not in (None, "xen")
    board = machine.line(_device_tree(machine) + "compatible")
    return other or board == "linux,dummy-virt"  # kvmtool, crosvm, Firecracker


def _from_sysctl() -> str | None:
    guest = FREEBSD_GUESTS.get(sysctl_text("kern.vm_guest") or "")
    if guest or not sysctl_flag("kern.hv_vmm_present"):
        return guest
    model = sysctl_text("hw.model") or ""
    return next((name for start, name in MAC_MODELS if model.startswith(start)), "vm-other")
