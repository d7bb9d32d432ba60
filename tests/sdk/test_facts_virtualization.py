import os
import shutil
import subprocess
import sys

import pytest
from license_telemetry import _facts as facts
from license_telemetry._facts import container, native
from license_telemetry._facts.machine import Machine
from recorded_machines import MACHINES, build, put

# Every name that systemd-detect-virt --list prints.
VM_NAMES = "kvm amazon qemu bochs xen uml vmware oracle microsoft zvm parallels bhyve qnx acrn powervm apple sre google vm-other"
CONTAINER_NAMES = "systemd-nspawn lxc-libvirt lxc openvz docker podman rkt wsl proot pouch container-other"


def test_only_names_that_systemd_prints_are_used():
    expected = [machine["expect"] for machine in MACHINES.values()]
    assert {found["vm"] for found in expected if "vm" in found} <= set(VM_NAMES.split())
    assert {found["container"] for found in expected if "container" in found} <= set(CONTAINER_NAMES.split())


@pytest.mark.skipif(not shutil.which("systemd-detect-virt"), reason="needs systemd-detect-virt")
@pytest.mark.parametrize("kind", ["vm", "container"])
def test_this_machine_is_seen_as_systemd_sees_it(kind):
    said = subprocess.run(
        ["systemd-detect-virt", f"--{kind}"], capture_output=True, text=True, check=False
    ).stdout.strip()
    assert facts.virtualization()[kind] == (None if said == "none" else said)


@pytest.mark.parametrize(("bit", "vm"), [(0x10, "amazon"), (0x00, None)])
def test_where_root_may_read_it_the_firmwares_own_bit_tells_metal_from_virtual(tmp_path, bit, vm):
    build(
        tmp_path, MACHINES["AWS Nitro with Amazon Linux 2023"] | {"cpuinfo": "intel-metal", "clocks": "tsc"}
    )
    put(tmp_path, "/sys/firmware/dmi/entries/0-0/raw", bytes([0, 24]) + bytes(17) + bytes([bit]) + bytes(4))
    assert facts.virtualization(tmp_path) == {"vm": vm, "container": None, "cloud": "aws"}


def test_the_firmwares_bit_alone_means_some_virtual_machine(tmp_path):
    build(tmp_path, MACHINES["Dell PowerEdge with Debian 12"])
    put(tmp_path, "/sys/firmware/dmi/entries/0-0/raw", bytes([0, 24]) + bytes(17) + b"\x10" + bytes(4))
    assert facts.virtualization(tmp_path)["vm"] == "vm-other"
    put(tmp_path, "/sys/firmware/dmi/entries/0-0/raw", bytes([0, 18]) + bytes(17) + b"\x10")
    assert facts.virtualization(tmp_path)["vm"] is None


def test_a_container_sees_its_hosts_hypervisor(tmp_path):
    build(tmp_path, MACHINES["VMware ESXi with SLES 15"])
    put(tmp_path, "/run/systemd/container", "lxc")
    assert facts.virtualization(tmp_path) == {"vm": "vmware", "container": "lxc", "cloud": None}


def test_an_init_variable_that_is_empty_is_no_container(tmp_path):
    put(tmp_path, "/proc/1/environ", b"container=\0TERM=linux\0")
    assert facts.virtualization(tmp_path)["container"] is None


def test_an_unprivileged_process_in_podman_is_found_by_its_own_environment(monkeypatch):
    if facts.virtualization()["container"] not in {None, "podman"}:
        pytest.skip("this machine is a container by stronger marks")
    monkeypatch.setenv("container", "podman")
    assert facts.virtualization()["container"] == "podman"


@pytest.mark.skipif(sys.platform != "linux", reason="about Linux")
def test_a_real_pid_namespace_differs_from_the_first_one():
    asked = "from license_telemetry._facts import container, machine; print(container._is_namespaced(machine.Machine()))"
    unshared = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    inside = subprocess.run(
        [*unshared, sys.executable, "-c", asked], capture_output=True, text=True, check=False
    )
    if inside.returncode:
        pytest.skip(f"may not make namespaces here: {inside.stderr.strip()}")
    assert inside.stdout == "True\n"
    first = os.readlink("/proc/self/ns/pid") == "pid:[4026531836]"
    assert container._is_namespaced(Machine()) is not first


def test_the_firmware_is_believed_before_cloud_init_and_the_environment(tmp_path):
    build(tmp_path, MACHINES["Hetzner Cloud"])
    put(tmp_path, "/run/cloud-init/cloud-id", "openstack")
    assert facts.virtualization(tmp_path)["cloud"] == "hetzner"


def test_a_platform_without_firmware_is_known_by_its_environment(monkeypatch):
    if facts.virtualization()["cloud"]:
        pytest.skip("this machine's cloud is known by stronger marks")
    monkeypatch.setenv("DYNO", "web.1")
    assert facts.virtualization()["cloud"] == "heroku"


def test_looking_starts_no_process(monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("a process was started")

    for name in ("fork", "posix_spawn", "system", "popen"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert set(facts.virtualization()) == {"vm", "container", "cloud"}
    assert set(facts.operating_system()) == {"type", "name", "version", "kernel"}


@pytest.mark.skipif(sys.platform != "linux", reason="about Linux")
def test_what_other_systems_are_asked_is_nothing_here():
    assert native.sysctl("kern.vm_guest") is None
    assert native.sysctl_text("kern.bootsessionuuid") is None
    assert native.sysctl_flag("kern.hv_vmm_present") is False
    assert native.registry(r"SOFTWARE\Microsoft\Cryptography", "MachineGuid") is None
