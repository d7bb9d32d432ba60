import hashlib
import hmac
import re
import struct

import pytest
from license_telemetry import _facts as facts
from recorded_machines import MACHINES, build, put

MACHINE_ID = "4f1c7a8de0b94b2f9a3d5c6e7f801234"
BOOT_ID = "0f6e7c9a-52b1-4f0e-8d43-8f0f6a1e2b3c"


def parts(root, product="billing"):
    return facts.host(product, root)["fingerprint"]


def keyed(raw, part, product="billing"):
    return hmac.new(
        raw.encode(), f"license-telemetry\n{product}\n{part}".encode(), hashlib.sha256
    ).hexdigest()


def network(root, name, address, *, assigned="0", device=True, modalias="pci:v00008086d00001521"):
    put(root, f"/sys/class/net/{name}/address", address + "\n")
    put(root, f"/sys/class/net/{name}/addr_assign_type", assigned + "\n")
    if device:
        put(root, f"/sys/class/net/{name}/device/modalias", modalias + "\n")


def root_disk(root, partition="sda2", disk="sda", number="8:2", **attributes):
    put(
        root,
        "/proc/self/mountinfo",
        f"25 1 {number} / / rw,relatime shared:1 - ext4 /dev/{partition} rw\n26 25 0:5 / /dev rw - devtmpfs udev rw\n",
    )
    put(root, f"/sys/devices/pci0/{disk}/{partition}/partition", "2\n")
    for name, value in attributes.items():
        put(root, f"/sys/devices/pci0/{disk}/{name}", value + "\n")
    for link, target in (
        (f"/sys/dev/block/{number}", f"../../devices/pci0/{disk}/{partition}"),
        (f"/sys/class/block/{partition}", f"../../devices/pci0/{disk}/{partition}"),
    ):
        place = root / link.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


def test_a_whole_machine_has_every_part_and_no_raw_value(tmp_path):
    build(tmp_path, MACHINES["Dell PowerEdge with Debian 12"])
    raw = {
        "/etc/machine-id": MACHINE_ID,
        "/sys/class/dmi/id/board_serial": ".7XKQ2Z3.CNFCP0012345AB.",
        "/sys/class/dmi/id/product_uuid": "4c4c4544-0058-4b10-8051-b7c04f325a33",
    }
    for path, value in raw.items():
        put(tmp_path, path, value + "\n")
    network(tmp_path, "eno1", "b8:cb:29:aa:bb:cc")
    root_disk(tmp_path, wwid="naa.6842b2b0740e9a00260e66c05d1b1b8e")
    found = parts(tmp_path)
    assert set(found) == {"machine_id", "board", "board_serial", "product_uuid", "mac", "cpu", "disk"}
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in found.values())
    assert found["machine_id"] == keyed(MACHINE_ID, "machine_id") == facts.machine_digest("billing", tmp_path)
    assert found["mac"] == keyed("b8:cb:29:aa:bb:cc", "mac")
    assert found["disk"] == keyed("naa.6842b2b0740e9a00260e66c05d1b1b8e", "disk")
    assert not any(value in str(facts.host("billing", tmp_path)) for value in raw.values())


def test_two_products_cannot_compare_their_digests(tmp_path):
    build(tmp_path, MACHINES["Dell PowerEdge with Debian 12"])
    put(tmp_path, "/etc/machine-id", MACHINE_ID)
    put(tmp_path, "/proc/sys/kernel/random/boot_id", BOOT_ID)
    assert set(parts(tmp_path, "billing").values()).isdisjoint(parts(tmp_path, "hosting").values())
    assert (
        facts.boot_id("billing", tmp_path) == keyed(BOOT_ID, "boot_id") != facts.boot_id("hosting", tmp_path)
    )


def test_the_machine_id_may_be_where_dbus_or_freebsd_keep_it(tmp_path):
    put(tmp_path, "/etc/hostid", "12345678-9abc-def0-1234-56789abcdef0\n")
    assert facts.machine_digest("p", tmp_path) == keyed("123456789abcdef0123456789abcdef0", "machine_id", "p")
    put(tmp_path, "/var/lib/dbus/machine-id", MACHINE_ID + "\n")
    put(tmp_path, "/etc/machine-id", "uninitialized\n")
    assert facts.machine_digest("p", tmp_path) == keyed(MACHINE_ID, "machine_id", "p")


@pytest.mark.parametrize(
    "value",
    ["", "\n", "uninitialized", "0" * 32, "f" * 32, MACHINE_ID[:-1], MACHINE_ID + "0", "g" + MACHINE_ID[1:]],
)
def test_what_is_no_machine_id_is_left_out(tmp_path, value):
    put(tmp_path, "/etc/machine-id", value)
    assert facts.machine_digest("billing", tmp_path) is None
    assert "machine_id" not in parts(tmp_path)


PLACEHOLDERS = {
    "words": [
        "To be filled by O.E.M.", "None", "Default string", "Not Specified", "System Serial Number", "(null string)",
        "Serial Number xxxxxx", "OEM_Serial", "Not Present", "Chassis Serial Number", "None Specified", "IATPASS",
        "SystemSerialNumb", "Tulip Computers", "Base Board Serial Number", "Enter Serial", "NO_LOGIC_BOARD_SN",
        "No Asset Tag", "INVALID", "Unknow", "EVAL", "N/A", "System manufacturer", "Standard", " ", ".........",
    ],
    "repetition": ["0", "00000000", "1111111111", "0101010", "0110100", "NNNNNNN", "xxxxxxxxxxx", "ABCABCABC", "1.0"],
    "counting": [
        "0123456789", "SYS-1234567890", "SN-1234567890", "MB-1234567890", "SYS-9876543210", "SN-12345", "123456",
        "12345678", "12345678901234567", "123456789000", "112233445566", "ABCDEFGH", "000001",
        "SN-123456fvgv3i0b8o5n6n7k",
    ],
}  # fmt: skip


@pytest.mark.parametrize("value", [value for kind in PLACEHOLDERS.values() for value in kind])
def test_placeholders_that_many_machines_share_are_left_out(tmp_path, value):
    for field in ("board_serial", "board_name", "product_uuid"):
        put(tmp_path, f"/sys/class/dmi/id/{field}", value)
    root_disk(tmp_path, serial=value)
    assert parts(tmp_path) == {}


@pytest.mark.parametrize(
    "uuid",
    [
        "00000000-0000-0000-0000-000000000000",
        "00000000-0000-0000-0000-000000000001",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "FEFEFEFE-FEFE-FEFE-FEFE-FEFEFEFEFEFE",
        "01010101-0101-0101-0101-010101010101",
        "11111111-2222-3333-4444-555555555555",
        "10000000-0000-8000-0040-000000000000",
        "00112233-4455-6677-8899-AABBCCDDEEFF",
        "33221100-5544-7766-8899-AABBCCDDEEFF",
        "03020100-0504-0706-0809-0A0B0C0D0E0F",
        "12345678-1234-5678-90AB-CDDEEFAABBCC",
        "CAFECAFE-CAFE-CAFE-CAFE-DECAFFDECAFF",
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "4C4C4544-0000-2010-8020-80C04F202020",
        "6AB5B300-538D-1014-9FB5-B0684D007B53",
        "2",
    ],
)
def test_a_uuid_that_many_machines_share_is_left_out(tmp_path, uuid):
    put(tmp_path, "/sys/class/dmi/id/product_uuid", uuid)
    assert parts(tmp_path) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("board_serial", ".7XKQ2Z3.CNFCP0012345AB."),  # Dell
        ("board_serial", "PGYHNQBCY5Q0BR"),  # HPE
        ("board_serial", "ZM17CS014325"),  # Supermicro
        ("board_serial", "BR80YFDYZ68ICQ4"),  # ASRock
        ("board_serial", "190755239905221"),  # ASUS
        ("board_serial", "K916S017"),
        ("product_uuid", "4c4c4544-0058-4b10-8051-b7c04f325a33"),  # Dell with its service tag
        ("product_uuid", "00000000-0000-0000-0000-ac1f6b4d3e10"),  # Supermicro: only the card's address
        ("product_uuid", "545f25ec-0000-4000-8000-0000000000ff"),
        ("board_name", "X99"),
    ],
)
def test_what_a_manufacturer_did_fill_in_is_kept(tmp_path, field, value):
    put(tmp_path, f"/sys/class/dmi/id/{field}", value)
    assert set(parts(tmp_path)) == {"board" if field == "board_name" else field}


def test_a_boot_without_an_id_has_none(tmp_path):
    put(tmp_path, "/proc/sys/kernel/random/boot_id", "00000000-0000-0000-0000-000000000000\n")
    assert facts.boot_id("billing", tmp_path) is None


@pytest.mark.parametrize(
    "interface",
    [
        {"address": "02:42:ac:11:00:02"},
        {"address": "42:01:0a:80:00:02"},
        {"address": "02:fc:00:00:00:01"},
        {"address": "00:00:00:00:00:00"},
        {"address": "ff:ff:ff:ff:ff:ff"},
        {"address": "01:00:5e:00:00:01"},
        {"address": "80:00:00:48:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1"},
        *(
            {"address": address}
            for address in (
                "02:00:4e:43:50:49", "00:50:56:c0:00:01", "00:50:56:C0:00:08", "02:80:37:ec:02:00", "00:0b:ca:fe:00:00",
                "0a:00:27:00:00:00", "00:1c:42:00:00:08", "fe:ff:ff:ff:ff:ff", "52:54:00:12:34:56", "52:54:00:12:34:57",
                "20:41:53:59:4e:ff", "50:50:54:50:30:30", "33:50:6f:45:30:30", "24:b6:20:52:41:53", "02:50:41:00:00:01",
                "00:05:9a:3c:7a:00", "00:a0:c6:00:00:00", "d2:0a:2d:a0:04:be", "0c:5b:8f:27:9a:64", "02:00:4c:4f:4f:50",
                "00:11:22:33:44:55", "12:34:56:78:9a:bc", "aa:bb:cc:dd:ee:ff", "de:ad:be:ef:00:01", "88:88:88:88:87:88",
                "b8:cb:29:00:00:00", "b8:cb:29:00:00:07", "02:00:00:00:00:0a",
            )
        ),
        {"address": "b8:cb:29:aa:bb"},
        {"address": "b8cb:29:aa:bb:cc"},
        {"address": "zz:cb:29:aa:bb:cc"},
        {"address": "3e:1f:22:33:44:55", "assigned": "1"},
        {"address": "3e:1f:22:33:44:55", "assigned": "3"},
        {"address": "b8:cb:29:aa:bb:cc", "device": False},
        {"address": "b8:cb:29:aa:bb:cc", "modalias": "usb:v0B1Fp03EEd0504"},
    ],
)  # fmt: skip
def test_an_address_that_is_not_a_cards_own_is_left_out(tmp_path, interface):
    network(tmp_path, "eth0", **interface)
    assert parts(tmp_path) == {}


@pytest.mark.parametrize(
    "address", ["52:54:00:6b:3c:58", "00:50:56:b4:1a:7e", "96:00:00:2c:7d:0e", "0a:5f:3c:81:d2:ef"]
)
def test_a_virtual_machines_own_address_is_kept(tmp_path, address):
    network(tmp_path, "eth0", address)
    assert parts(tmp_path) == {"mac": keyed(address, "mac")}


def test_the_lowest_cards_address_counts_whatever_the_names(tmp_path):
    network(tmp_path, "eth0", "B8:CB:29:AA:BB:CD")
    network(tmp_path, "eth1", "b8:cb:29:aa:bb:cc")
    network(tmp_path, "docker0", "02:42:00:00:00:01", device=False)
    assert parts(tmp_path) == {"mac": keyed("b8:cb:29:aa:bb:cc", "mac")}


def test_a_disk_without_a_serial_is_known_by_its_file_system(tmp_path):
    root_disk(tmp_path, partition="vda1", disk="vda", number="254:1", serial="")
    by_uuid = tmp_path / "dev/disk/by-uuid"
    by_uuid.mkdir(parents=True)
    (by_uuid / "0b5c-11aa").symlink_to("../../vda15")
    (by_uuid / "e139ce78-9841-40fe-8823-96a304a09859").symlink_to("../../vda1")
    assert parts(tmp_path) == {"disk": keyed("e139ce78-9841-40fe-8823-96a304a09859", "disk")}


@pytest.mark.parametrize(
    "serial",
    ["drive-scsi0", "QM00001", "0QEMU    QEMU HARDDISK   drive-scsi0", "persistent-disk-0", "rootdisk"],
)
def test_a_virtual_disks_slot_is_no_serial(tmp_path, serial):
    root_disk(tmp_path, serial=serial)
    assert parts(tmp_path) == {}


def test_a_file_system_on_a_volume_manager_is_found_through_its_name(tmp_path):
    put(tmp_path, "/proc/self/mountinfo", "30 1 0:27 / / rw - btrfs /dev/mapper/vg-root rw\n")
    put(tmp_path, "/sys/class/block/dm-0/dm/uuid", "LVM-9Rn2vXfTz0Kq1mE8\n")
    (tmp_path / "dev/mapper").mkdir(parents=True)
    (tmp_path / "dev/mapper/vg-root").symlink_to("../dm-0")
    assert parts(tmp_path) == {"disk": keyed("lvm-9rn2vxftz0kq1me8", "disk")}


def test_a_containers_overlay_is_no_disk(tmp_path):
    put(
        tmp_path,
        "/proc/self/mountinfo",
        "812 640 0:52 / / rw,relatime - overlay overlay rw,lowerdir=/l\n813 812 254:1 /hosts /etc/hosts rw - ext4 /dev/vda1 rw\n",
    )
    assert parts(tmp_path) == {}


@pytest.mark.parametrize(
    ("number", "order", "arch"),
    [
        (62, "<", "amd64"),
        (3, "<", "x86"),
        (183, "<", "arm64"),
        (40, "<", "arm32"),
        (21, "<", "ppc64"),
        (22, ">", "s390x"),
        (243, "<", "riscv64"),
        (9999, "<", None),
    ],
)
def test_a_recorded_machines_architecture_is_that_of_its_programs(tmp_path, number, order, arch):
    header = (
        b"\x7fELF\x02"
        + (b"\x01" if order == "<" else b"\x02")
        + bytes(10)
        + struct.pack(f"{order}HH", 3, number)
    )
    put(tmp_path, "/usr/bin/dash", header + bytes(44))
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "usr/bin/sh").symlink_to("/bin/dash")
    assert facts.host("billing", tmp_path)["arch"] == arch


@pytest.mark.parametrize(
    ("uname", "arch"),
    [
        ("x86_64", "amd64"),
        ("i686", "x86"),
        ("aarch64", "arm64"),
        ("armv7l", "arm32"),
        ("ppc64le", "ppc64"),
        ("s390x", "s390x"),
        ("riscv64", "riscv64"),
    ],
)
def test_the_kernels_name_of_an_architecture_becomes_opentelemetrys(tmp_path, uname, arch):
    put(tmp_path, "/proc/sys/kernel/arch", uname + "\n")
    assert facts.host("billing", tmp_path)["arch"] == arch


def test_this_machine_keeps_its_digests():
    assert facts.host("billing") == facts.host("billing")
    assert facts.boot_id("billing") == facts.boot_id("billing")
    assert facts.host("billing")["arch"] is not None
