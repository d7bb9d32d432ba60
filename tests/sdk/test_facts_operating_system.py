import platform
import sys

import pytest
from license_telemetry import _facts as facts
from license_telemetry._facts.system import assignments
from recorded_machines import put


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("ID=debian", "debian"),
        ('ID="debian"', "debian"),
        ("ID='debian'", "debian"),
        ("  ID=debian\r", "debian"),
        ("ID=", ""),
        ('ID=""', ""),
        ("ID=debian # a comment", "debian"),
        (r'ID="quote\" dollar\$ tick\` backslash\\ other\n"', 'quote" dollar$ tick` backslash\\ other\\n'),
        (r"ID='nothing\is escaped here'", r"nothing\is escaped here"),
        (r"ID=escaped\ space", "escaped space"),
        ("""ID="two"'words'""", "twowords"),
        ("#ID=debian\nID=arch", "arch"),
        ("ID=first\nID=last", "last"),
    ],
)
def test_values_are_read_as_the_shell_reads_them(line, value):
    assert assignments(line) == {"ID": value}


@pytest.mark.parametrize(
    "line",
    [
        'ID="never closed',
        "ID='never closed",
        "ID",
        "=debian",
        "ID =debian",
        "export ID=debian",
        "9=x",
        "# ID=x",
        "",
    ],
)
def test_a_broken_line_is_left_out_and_costs_no_other(line):
    assert assignments(f"{line}\nVERSION_ID=12") == {"VERSION_ID": "12"}


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\n\n", b"\xff\xfe\n", b"NAME='Caf\xe9'\n"])
def test_a_byte_order_mark_or_bytes_that_are_no_text_spoil_nothing(tmp_path, start):
    put(tmp_path, "/etc/os-release", start + b"ID=debian\nVERSION_ID=12\n")
    assert facts.operating_system(tmp_path) == {
        "type": "linux",
        "name": "debian",
        "version": "12",
        "kernel": None,
    }


def test_the_administrators_file_comes_before_the_vendors(tmp_path):
    put(tmp_path, "/usr/lib/os-release", "ID=fedora\nVERSION_ID=40\n")
    assert facts.operating_system(tmp_path)["name"] == "fedora"
    put(tmp_path, "/etc/os-release", "ID=rhel\nVERSION_ID=9.4\n")
    assert facts.operating_system(tmp_path)["name"] == "rhel"


def test_an_os_release_without_an_id_means_linux(tmp_path):
    put(tmp_path, "/etc/os-release", "NAME=Handmade\nVERSION_ID=1\n")
    assert facts.operating_system(tmp_path) == {
        "type": "linux",
        "name": "linux",
        "version": "1",
        "kernel": None,
    }


def test_a_huge_file_is_read_to_a_limit(tmp_path):
    put(tmp_path, "/etc/os-release", "ID=debian\n" + "#" * 5_000_000 + "\nVERSION_ID=12\n")
    assert facts.operating_system(tmp_path)["name"] == "debian"
    assert facts.operating_system(tmp_path)["version"] is None


def test_an_absolute_link_stays_inside_the_root(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    put(outside, "/secret", "ID=stolen\n")
    put(root, "/usr/lib/os-release", "ID=inside\n")
    (root / "etc").mkdir()
    link = root / "etc/os-release"
    for target in (
        str(outside / "secret"),
        "../../outside/secret",
        "../../../../../../usr/lib/os-release",
        "/usr/lib/os-release",
    ):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert facts.operating_system(root)["name"] == "inside"


def test_values_are_cut_and_cleaned_to_the_registrys_limits(tmp_path):
    put(tmp_path, "/etc/os-release", f'ID="{"x" * 999}"\nVERSION_ID="1\t2\x00\x1b[31m"\n')
    put(tmp_path, "/proc/sys/kernel/osrelease", "6" * 999)
    found = facts.operating_system(tmp_path)
    assert (len(found["name"]), len(found["kernel"])) == (64, 128)
    assert found["version"] == "1 2 [31m"


def test_this_machine_is_what_python_says_it_is():
    found = facts.operating_system()
    assert found["type"] == {"win32": "windows"}.get(sys.platform, sys.platform)
    assert found["kernel"] == platform.release() or sys.platform == "win32"
    if hasattr(platform, "freedesktop_os_release") and sys.platform == "linux":
        assert found["name"] == platform.freedesktop_os_release()["ID"]


def test_the_runtime_is_this_interpreter():
    assert facts.runtime() == {
        "name": sys.implementation.name,
        "version": platform.python_version().rstrip("+"),
    }
