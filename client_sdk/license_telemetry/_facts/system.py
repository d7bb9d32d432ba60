"""The operating system, its distribution, and their versions."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import Machine

    Version = tuple[str | None, str | None]  # a name and its version
    Identity = tuple[str | None, str | None, str | None, str | None]

PLATFORMS = (
    ("linux", "linux"), ("android", "linux"), ("darwin", "darwin"), ("win", "windows"), ("cygwin", "windows"),
    ("freebsd", "freebsd"), ("openbsd", "openbsd"), ("netbsd", "netbsd"), ("dragonfly", "dragonflybsd"),
    ("sunos", "solaris"), ("aix", "aix"), ("hp-ux", "hpux"),
)  # fmt: skip
MAC_VERSION = "/System/Library/CoreServices/SystemVersion.plist"
# (a file that only this system has, its type), for machines that are not running
RECORDED_MARKS = (
    (MAC_VERSION, "darwin"), ("/bin/freebsd-version", "freebsd"), ("/bsd", "openbsd"),
    ("/netbsd", "netbsd"), ("/Windows/System32", "windows"),
    ("/etc", "linux"), ("/usr", "linux"), ("/proc", "linux"), ("/sys", "linux"),
)  # fmt: skip
BSD_IDS = {"freebsd": "freebsd", "openbsd": "openbsd", "netbsd": "netbsd", "dragonfly": "dragonflybsd"}

# Before os-release there was lsb-release, and OpenWrt's own by the same rules.
OS_RELEASES = ("/etc/os-release", "/usr/lib/os-release")
LSB_RELEASES = ("/etc/lsb-release", "/etc/openwrt_release")
# Before these each distribution had its own file; Debian's is in others too, so it comes last.
RELEASE_FILES = (
    ("/etc/oracle-release", "ol"), ("/etc/redhat-release", None), ("/etc/system-release", None),
    ("/etc/SuSE-release", None), ("/etc/alpine-release", "alpine"), ("/etc/gentoo-release", "gentoo"),
    ("/etc/slackware-version", "slackware"), ("/etc/arch-release", "arch"), ("/etc/debian_version", "debian"),
)  # fmt: skip
DISTRIBUTIONS = (
    ("Red Hat", "rhel"), ("CentOS", "centos"), ("Fedora", "fedora"), ("CloudLinux", "cloudlinux"),
    ("Scientific", "scientific"), ("Oracle", "ol"), ("Amazon", "amzn"), ("AlmaLinux", "almalinux"),
    ("Rocky", "rocky"), ("Virtuozzo", "virtuozzo"), ("XenServer", "xenserver"),
    ("SUSE Linux Enterprise Desktop", "sled"), ("SUSE Linux Enterprise", "sles"), ("openSUSE", "opensuse"),
)  # fmt: skip
# CageFS may hide these files from an account of shared hosting, but shows its own one.
CAGEFS_FILE = "/var/.cagefs/.cagefs.token"


def identify(machine: Machine) -> Identity:
    """Type, distribution, version and kernel release, each None if unknown."""
    release = next(filter(None, (_os_release(machine, path) for path in OS_RELEASES)), {})
    kind = _kind(machine, release)
    return (kind, *_distribution(machine, kind, release), _kernel(machine))


def _os_release(machine: Machine, path: str) -> dict[str, str]:
    text = machine.text(path) or ""
    return {} if text.startswith("#!") else assignments(text)  # Synology's is a program, not for us to run


def assignments(text: str) -> dict[str, str]:
    """The variables of a file in os-release(5)'s subset of shell; lines that are not of it are left out."""
    found = {}
    for line in text.split("\n"):
        key, equals, value = line.strip().partition("=")
        unquoted = _unquoted(value) if equals and key.isidentifier() else None
        if unquoted is not None:
            found[key] = unquoted
    return found


def _unquoted(value: str) -> str | None:
    """A shell word without its quotes; None if a quote is left open."""
    word, quote = [], ""
    characters = iter(value)
    for character in characters:
        if character == quote:
            quote = ""
        elif character == "\\" and quote != "'":
            following = next(characters, "")
            word.append(following if not quote or following in '$`"\\' else "\\" + following)
        elif quote:
            word.append(character)
        elif character in "\"'":
            quote = character
        elif character.isspace():
            break
        else:
            word.append(character)
    return None if quote else "".join(word)


def _kind(machine: Machine, release: dict[str, str]) -> str | None:
    if machine.live:
        return next((kind for start, kind in PLATFORMS if sys.platform.startswith(start)), sys.platform)
    if release.get("ID") in BSD_IDS:
        return BSD_IDS[release["ID"]]
    return next((kind for path, kind in RECORDED_MARKS if machine.exists(path)), None)


def _distribution(machine: Machine, kind: str | None, release: dict[str, str]) -> Version:
    if kind == "darwin":
        return "macos", _mac_version(machine)
    if kind == "windows":
        return "windows", _windows_version() if machine.live else None
    if kind == "linux" or release:
        return _linux_distribution(machine, release)
    return kind, _bsd_version(machine)


def _linux_distribution(machine: Machine, release: dict[str, str]) -> Version:
    unraid = assignments(machine.text("/etc/unraid-version") or "").get("version")
    if unraid:  # before 7.2 its os-release was Slackware's
        return "unraid-os", unraid
    if not release.get("ID"):
        found = _storage_system(machine) or _before_os_release(machine) or _cloudlinux(machine)
        return found or ("linux" if release else None, release.get("VERSION_ID"))
    version = release.get("VERSION_ID")
    if not version and release["ID"] == "debian":  # testing and unstable have no VERSION_ID
        version = machine.line("/etc/debian_version")
    return release["ID"], version


def _storage_system(machine: Machine) -> Version | None:
    """Synology's, QNAP's and ASUSTOR's, each under the name that it has in an os-release or would have."""
    for path in ("/etc.defaults/VERSION", "/etc/VERSION"):
        dsm = assignments(machine.text(path) or "")
        if dsm.get("majorversion"):
            oldest = f"{dsm['majorversion']}.{dsm.get('minorversion', '0')}"
            return dsm.get("os_name") or "dsm", dsm.get("productversion") or oldest
    for path in ("/etc/config/uLinux.conf", "/etc/default_config/uLinux.conf"):
        version = _settings(machine.text(path), "[System]").get("Version")
        if version:
            return "qts", version
    basic = _settings(machine.text("/etc/nas.conf"), "[Basic]")
    return ("adm", basic.get("Version")) if basic.get("Vendor") == "ASUSTOR" else None


def _settings(text: str | None, section: str) -> dict[str, str]:
    """The keys and values after `section`, as far as the next one of an INI file."""
    lines = (text or "").partition(section)[2].partition("\n[")[0].split("\n")
    pairs = (line.partition("=") for line in lines)
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def _cloudlinux(machine: Machine) -> Version | None:
    kernel = (_kernel(machine) or "").replace("_", ".").split(".")
    if (
        any(part.startswith("lve") for part in kernel)
        or "cloudlinux" in (machine.line("/proc/version") or "")
        or machine.exists("/proc/lve")
        or machine.read(CAGEFS_FILE, 1) is not None
    ):
        versions = (part[2:].rstrip("h") for part in kernel if part.startswith("el"))  # h: hybrid
        return "cloudlinux", next(filter(str.isdigit, versions), None)
    return None


def _before_os_release(machine: Machine) -> Version | None:
    for path in LSB_RELEASES:
        lsb = assignments(machine.text(path) or "")
        if lsb.get("DISTRIB_ID"):
            return lsb["DISTRIB_ID"], lsb.get("DISTRIB_RELEASE")
    for path, only in RELEASE_FILES:
        text = machine.text(path, 4096)
        if text is None:
            continue
        distribution = only or next((name for start, name in DISTRIBUTIONS if text.startswith(start)), None)
        if distribution:
            return distribution, _version_in(text)
    return None


def _version_in(text: str) -> str | None:
    first = text.partition("\n")[0]
    suse = _settings(text, "\n")
    if suse.get("VERSION"):
        patch = suse.get("PATCHLEVEL", "0")
        return suse["VERSION"] + (f".{patch}" if patch != "0" else "")
    return next((word for word in first.split() if word[0].isdigit()), None) or _codename(first)


def _codename(line: str) -> str | None:
    return line.strip() if line.strip().endswith("/sid") else None


def _kernel(machine: Machine) -> str | None:
    release = machine.line("/proc/sys/kernel/osrelease")
    if release:
        return release
    if machine.live:
        return _windows_version() if sys.platform == "win32" else os.uname().release
    words = (machine.line("/proc/version") or "").split()
    return "".join(words[2:3]) if words[:2] == ["Linux", "version"] else None


def _bsd_version(machine: Machine) -> str | None:
    # a shell script that begins with its answer
    script = assignments(machine.text("/bin/freebsd-version") or "")
    release = script.get("USERLAND_VERSION")
    if not release and machine.live and sys.platform != "win32":
        release = os.uname().release
    if not release:
        release = (machine.line("/etc/release") or "").partition("NetBSD ")[2].partition("/")[0]
    return release.partition("-")[0] or None


def _mac_version(machine: Machine) -> str | None:
    import plistlib  # noqa: PLC0415 - brings an XML parser, for macOS only

    try:
        properties = plistlib.loads(machine.read(MAC_VERSION) or b"")
        return str(properties["ProductVersion"])
    except Exception:  # its two parsers raise any error
        return None


def _windows_version() -> str | None:
    if sys.platform == "win32":
        return ".".join(str(part) for part in sys.getwindowsversion().platform_version)
    return None
