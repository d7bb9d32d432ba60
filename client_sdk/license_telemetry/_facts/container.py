"""The container manager, under the names that `systemd-detect-virt --container` prints."""

from __future__ import annotations

import os

from .native import sysctl_flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import Machine

OTHER = "container-other"
VARIABLE = "container"
# What managers call themselves in $container and in the files that stand for it.
MANAGERS = {
    name: name
    for name in (
        "lxc", "lxc-libvirt", "systemd-nspawn", "openvz", "docker", "podman", "rkt", "wsl", "proot", "pouch",
    )
}  # fmt: skip
MANAGERS["openvzve"] = "openvz"
# Docker's comes last: it is in images, and so in containers of other managers.
MARKER_FILES = (("/run/.containerenv", "podman"), ("/.dockerenv", "docker"))
CGROUP_MARKS = (
    ("/docker/", "docker"), ("/docker-", "docker"), ("/libpod", "podman"), ("/lxc/", "lxc"),
    ("/lxc.payload", "lxc"), ("/kubepods", OTHER), ("/ecs/", OTHER), ("/garden/", OTHER),
    ("/buildkit/", OTHER), ("cri-containerd", OTHER), ("/crio-", OTHER),
)  # fmt: skip
KUBERNETES_FILES = (
    "/run/secrets/kubernetes.io/serviceaccount",
    "/var/run/secrets/kubernetes.io/serviceaccount",
)
# gVisor reports this build date of Linux for every release.
GVISOR_BUILD = "#1 SMP Sun Jan 10 15:06:54 PST 2016"
PID_NAMESPACE = "/proc/self/ns/pid"
FIRST_PID_NAMESPACE = "pid:[4026531836]"  # 0xEFFFFFFC, the same in every kernel since 3.8


def manager(machine: Machine) -> str | None:
    """The manager's name; `container-other` for one that is there but unknown; None outside a container."""
    status = _status(machine)
    if _in_openvz(machine, status):
        return "openvz"
    if _traced_by_proot(machine, status):
        return "proot"
    subsystem = _in_windows(machine)
    if subsystem and machine.exists("/run/WSL"):  # which a container inside it does not see
        return "wsl"
    said = _announced(machine)
    if said is not None:
        return _translated(said, machine) if said else None
    return (
        _from_marker_files(machine)
        or _from_kernel(machine)
        or ("wsl" if subsystem else None)
        or (OTHER if _is_namespaced(machine) else None)
        or (_from_process() if machine.live else None)
    )


def _status(machine: Machine) -> dict[str, str]:
    pairs = (line.partition(":") for line in (machine.text("/proc/self/status") or "").split("\n"))
    return {key: value.strip() for key, _, value in pairs}


def _in_openvz(machine: Machine, status: dict[str, str]) -> bool:
    if status.get("envID"):  # 0 on the host
        return status["envID"] != "0"
    if not machine.exists("/proc/vz") or machine.exists("/proc/bc"):  # the host has both
        return False
    # CloudLinux inherited an empty /proc/vz.
    counted = machine.exists("/proc/user_beancounters") and not machine.exists("/proc/lve")
    return counted or machine.exists("/proc/vz/veinfo")


def _in_windows(machine: Machine) -> bool:
    kernel = machine.line("/proc/sys/kernel/osrelease") or ""
    return "Microsoft" in kernel or "WSL" in kernel


def _announced(machine: Machine) -> str | None:
    """The manager's announcement to its first process; empty for "no container"."""
    said = machine.line("/run/host/container-manager")
    if said:
        return said
    if machine.live and os.getpid() == 1 and VARIABLE in os.environ:
        return os.environ[VARIABLE]
    return machine.line("/run/systemd/container") or _first_process_variable(machine) or None


def _first_process_variable(machine: Machine) -> str | None:
    environment = machine.text("/proc/1/environ") or ""  # of another account, so often forbidden
    pairs = (entry.partition("=") for entry in environment.split("\0"))
    return next((value for key, _, value in pairs if key == VARIABLE), None)


def _translated(said: str, machine: Machine) -> str:
    if said == "oci":  # some images set it under any manager
        return _from_marker_files(machine) or OTHER
    return MANAGERS.get(said, OTHER)


def _traced_by_proot(machine: Machine, status: dict[str, str]) -> bool:
    tracer = status.get("TracerPid", "")
    return tracer.isdigit() and (machine.line(f"/proc/{tracer}/comm") or "").startswith("proot")


def _from_marker_files(machine: Machine) -> str | None:
    return next((name for path, name in MARKER_FILES if machine.exists(path)), None)


def _from_kernel(machine: Machine) -> str | None:
    cgroup = machine.text("/proc/1/cgroup") or ""
    named = next((name for mark, name in CGROUP_MARKS if mark in cgroup), None)
    if named or not _behind_lxcfs(machine):
        return named or (OTHER if _in_a_sandbox(machine) else None)
    return "lxc"


def _in_a_sandbox(machine: Machine) -> bool:
    version = machine.line("/proc/version") or ""
    return (
        GVISOR_BUILD in version
        or "-gvisor" in version
        or any(machine.exists(path) for path in KUBERNETES_FILES)
    )


def _behind_lxcfs(machine: Machine) -> bool:
    mounts = (machine.text("/proc/self/mountinfo") or "").split("\n")
    return any(" fuse.lxcfs " in mount and " /proc/" in mount for mount in mounts)


def _is_namespaced(machine: Machine) -> bool:
    """Whether the first process here is not the system's, as in a container."""
    namespace = machine.target(PID_NAMESPACE) or ""
    if namespace.startswith("pid:["):
        return namespace != FIRST_PID_NAMESPACE
    return _below_the_cgroup_root(machine)  # weaker, as a service can be that; for records without the link


def _below_the_cgroup_root(machine: Machine) -> bool:
    root = "/sys/fs/cgroup/"
    if machine.exists(root + "cgroup.events"):  # version 2; the true root never has a type
        return machine.exists(root + "cgroup.type")
    # Version 1: only the true root has a release agent. The other file tells a mount from a bare directory.
    return machine.exists(root + "systemd/cgroup.procs") and not machine.exists(
        root + "systemd/release_agent"
    )


def _from_process() -> str | None:
    said = MANAGERS.get(os.environ.get(VARIABLE, ""))
    if said:
        return said
    return OTHER if "KUBERNETES_SERVICE_HOST" in os.environ or sysctl_flag("security.jail.jailed") else None
