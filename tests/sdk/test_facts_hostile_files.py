import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from license_telemetry import _facts as facts
from license_telemetry._facts import architecture, cloud, container, fingerprint, firmware, hypervisor, system
from license_telemetry._facts.machine import Machine
from recorded_machines import CLOCKS, MACHINES, below, build, files_of, put

REPOSITORY = Path(__file__).parents[2]
FIELDS = tomllib.loads((REPOSITORY / "telemetry_server/fields.toml").read_text(encoding="utf-8"))["field"]
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")

# Every file that some detector reads.
PATHS = sorted(
    {path for machine in MACHINES.values() for path in files_of(machine)}
    | {f"/sys/class/dmi/id/{field}" for field in firmware.FIELDS}
    | {"/usr/lib/os-release", "/proc/sys/kernel/arch", "/proc/sys/kernel/random/boot_id", "/bin/sh", CLOCKS}
    | {"/etc/machine-id", "/var/lib/dbus/machine-id", "/sys/firmware/dmi/entries/0-0/raw", "/proc/device-tree/compatible"}
    | {"/sys/class/net/eth0/address", "/sys/class/net/eth0/addr_assign_type", "/sys/class/net/eth0/device/modalias"}
    | {"/sys/class/block/sda1/serial", "/sys/bus/pci/devices/0/vendor", "/etc/fedora-release"}
)  # fmt: skip


def everything(root):
    """All that is read of a machine, by the field's name in the registry."""
    found = {"boot_id": facts.boot_id("billing", root)}
    for section, values in (
        ("os", facts.operating_system(root)),
        ("virtualization", facts.virtualization(root)),
        ("host", facts.host("billing", root)),
        ("runtime", facts.runtime()),
    ):
        found |= {f"{section}.{key}": value for key, value in values.items()}
    return found


def detect(root):
    """The same without the net below the detectors: what raises, raises here."""
    machine = Machine(root)
    dmi = firmware.read(machine)
    hypervisor.vm(machine, dmi, cloud.provider(machine, dmi))
    container.manager(machine)
    system.identify(machine)
    architecture.name(machine)
    fingerprint.digests("billing", machine)
    fingerprint.boot(machine)


def assert_within_the_registrys_limits(found):
    for path, value in found.items():
        field = FIELDS[path]
        if value is None:
            continue
        if field["type"] == "name":
            assert NAME.fullmatch(value), (path, value)
        elif field["type"] == "digests":
            assert len(value) <= field["max_items"]
            assert all(NAME.fullmatch(key) and DIGEST.fullmatch(each) for key, each in value.items())
        else:
            assert 0 < len(value) <= field["max_length"], (path, value)
            assert value.isprintable()
    json.dumps(found).encode()


@given(content=st.dictionaries(st.sampled_from(PATHS), st.binary(max_size=300), max_size=12))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_in_any_file_raise_nothing_and_keep_the_limits(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("machine")
    for path, data in content.items():
        if not any(other.startswith(path + "/") for other in content):
            put(root, path, data)
    detect(root)
    assert_within_the_registrys_limits(everything(root))


@given(text=st.text(max_size=400))
@settings(max_examples=150)
def test_any_text_is_some_os_release(text):
    found = system.assignments(text)
    assert all(key.isidentifier() and "\n" not in value for key, value in found.items())


@given(name=st.sampled_from(sorted(MACHINES)), seed=st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_a_real_machine_with_some_broken_files_raises_nothing_and_keeps_the_limits(
    tmp_path_factory, name, seed
):
    root = build(tmp_path_factory.mktemp("machine"), MACHINES[name])
    for path in files_of(MACHINES[name]):
        if seed.random() < 0.5:
            put(root, path, seed.randbytes(64) + below(root, path).read_bytes()[: seed.randrange(200)])
    detect(root)
    assert_within_the_registrys_limits(everything(root))


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0",
        b"\xff" * 70_000,
        b"A" * 70_000,
        b"=\n" * 9000,
        b"\n" * 9000,
        "\u202e\u00e9\ud7ff".encode() * 9000,
    ],
)
def test_a_machine_with_the_same_garbage_in_every_file_is_still_a_machine(tmp_path, garbage):
    for path in PATHS:
        if not any(other.startswith(path + "/") for other in PATHS):
            put(tmp_path, path, garbage)
    detect(tmp_path)
    assert_within_the_registrys_limits(everything(tmp_path))


def test_the_best_known_machines_keep_the_limits_too(tmp_path):
    for number, machine in enumerate(MACHINES.values()):
        assert_within_the_registrys_limits(everything(build(tmp_path / str(number), machine)))
    assert_within_the_registrys_limits(everything("/"))


# Of these, being there is what counts, whatever they are.
MARKS = {
    "/proc/xen",
    "/proc/vz",
    "/.dockerenv",
    "/run/.containerenv",
    "/etc/arch-release",
    "/etc/oracle-release",
}
FOREIGN = ("/System", "/bin/freebsd-version", "/bsd", "/netbsd")
UNMARKED = [path for path in PATHS if not path.startswith((*MARKS, *FOREIGN)) and "cgroup" not in path]


def found_in(root):
    """Which facts there are, but for those that every machine has."""
    found = everything(root)
    return {
        path
        for path, value in found.items()
        if value and path != "os.type" and not path.startswith("runtime")
    }


@pytest.mark.timeout(30)
def test_a_fifo_in_place_of_every_file_blocks_nothing(tmp_path):
    for path in UNMARKED:
        place = below(tmp_path, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            os.mkfifo(place)
    detect(tmp_path)
    assert found_in(tmp_path) == set()


def test_directories_in_place_of_files_are_nothing(tmp_path):
    for path in UNMARKED:
        below(tmp_path, path).mkdir(parents=True, exist_ok=True)
    detect(tmp_path)
    assert found_in(tmp_path) == set()


@pytest.mark.parametrize("target", ["itself", "../" * 60 + "nowhere", "/etc/os-release", "/missing/file"])
def test_links_that_lead_nowhere_are_nothing(tmp_path, target):
    for path in PATHS:
        place = below(tmp_path, path)
        if not any(other.startswith(path + "/") for other in PATHS):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(place.name if target == "itself" else target)
    detect(tmp_path)
    assert found_in(tmp_path) <= {"virtualization.vm"}  # the directory /proc/xen is really there


def test_a_device_in_place_of_a_file_is_not_opened(tmp_path):
    (tmp_path / "etc").mkdir()
    try:
        os.mknod(tmp_path / "etc/os-release", 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero never ends
    except PermissionError:
        pytest.skip("may not make devices here")
    assert facts.operating_system(tmp_path)["name"] is None


@pytest.fixture
def open_directory():
    """A directory that every account may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_may_not_be_read_or_entered_is_nothing(open_directory):
    root = build(open_directory, MACHINES["Dell PowerEdge with Debian 12"])
    assert "os.name" in as_nobody(lambda: found_in(root))
    for path in files_of(MACHINES["Dell PowerEdge with Debian 12"]):
        below(root, path).chmod(0)
    assert as_nobody(lambda: found_in(root)) == set()
    for directory in ("etc", "proc", "sys"):
        (root / directory).chmod(0)
    assert as_nobody(lambda: found_in(root)) == set()
    for directory in ("etc", "proc", "sys"):
        (root / directory).chmod(0o755)


def as_nobody(function):
    """The set that `function` returns in a child process without root's rights."""
    everything("/")  # what is imported on demand is imported while it can be
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setresuid(65534, 65534, 65534)
            os.write(writer, json.dumps(sorted(function())).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return set(json.loads(said))


def test_importing_costs_neither_typing_nor_anything_that_starts_processes():
    code = "import sys; import license_telemetry._facts; print(*sys.modules)"
    package = str(REPOSITORY / "client_sdk")
    # The package itself is hidden behind an empty one: its own imports are not these detectors'.
    hidden = f"import sys, types; p = types.ModuleType('license_telemetry'); p.__path__ = [{package + '/license_telemetry'!r}]; sys.modules['license_telemetry'] = p; {code}"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", hidden], capture_output=True, text=True, check=True
    ).stdout.split()
    unwanted = {
        "typing",
        "pathlib",
        "re",
        "platform",
        "subprocess",
        "ctypes",
        "hmac",
        "hashlib",
        "plistlib",
        "socket",
        "uuid",
    }
    assert unwanted.isdisjoint(loaded)
