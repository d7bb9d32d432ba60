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
MANAGERS = frozenset(
    ["lxc", "lxc-libvirt", "systemd-nspawn", "docker", "podman", "rkt", "wsl", "proot", "pouch"]
)  # fmt: skip
# Docker's comes last: it gets into images, and then into other managers' containers.
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
GVISOR_KERNEL = "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016"


def manager(machine: Machine) -> str | None:
    """The manager's name; `container-other` for one that is there but unknown; None outside a container."""
    if machine.exists("/proc/vz") and not machine.exists("/proc/bc"):  # the host has both
        return "openvz"
    kernel = machine.line("/proc/sys/kernel/osrelease") or ""
    if "Microsoft" in kernel or "WSL" in kernel:
        return "wsl"
    if _traced_by_proot(machine):
        return "proot"
    said = _announced(machine)
    if said is not None:
        return _translated(said, machine) if said else None
    return _from_marker_files(machine) or _from_kernel(machine) or (_from_process() if machine.live else None)


def _announced(machine: Machine) -> str | None:
    """What the manager told its first process; empty when that was told it is in no container."""
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
    if said == "oci":  # some images say so, whatever runs them
        return _from_marker_files(machine) or OTHER
    return said if said in MANAGERS else OTHER


def _traced_by_proot(machine: Machine) -> bool:
    for line in (machine.text("/proc/self/status", 4096) or "").split("\n"):
        key, _, tracer = line.partition(":")
        if key == "TracerPid" and tracer.strip().isdigit():
            return (machine.line(f"/proc/{tracer.strip()}/comm") or "").startswith("proot")
    return False


def _from_marker_files(machine: Machine) -> str | None:
    return next((name for path, name in MARKER_FILES if machine.exists(path)), None)


def _from_kernel(machine: Machine) -> str | None:
    # systemd stops at "some cgroup namespace"; the kernel's files often still name the manager.
    cgroup = machine.text("/proc/1/cgroup") or ""
    named = next((name for mark, name in CGROUP_MARKS if mark in cgroup), None)
    if named:
        return named
    if _behind_lxcfs(machine):
        return "lxc"
    anonymous = (
        _below_the_cgroup_root(machine)
        or any(machine.exists(path) for path in KUBERNETES_FILES)
        or (machine.line("/proc/version") or "").startswith(GVISOR_KERNEL)
    )
    return OTHER if anonymous else None


def _behind_lxcfs(machine: Machine) -> bool:
    mounts = (machine.text("/proc/self/mountinfo") or "").split("\n")
    return any(" fuse.lxcfs " in mount and " /proc/" in mount for mount in mounts)


def _below_the_cgroup_root(machine: Machine) -> bool:
    root = "/sys/fs/cgroup/"
    if machine.exists(root + "cgroup.events"):  # version 2; the true root never has a type
        return machine.exists(root + "cgroup.type")
    # Version 1: only the true root has a release agent. The other file tells a mount from a bare directory.
    return machine.exists(root + "systemd/cgroup.procs") and not machine.exists(
        root + "systemd/release_agent"
    )


def _from_process() -> str | None:
    said = os.environ.get(VARIABLE)
    if said in MANAGERS:
        return said
    return OTHER if "KUBERNETES_SERVICE_HOST" in os.environ or sysctl_flag("security.jail.jailed") else None
