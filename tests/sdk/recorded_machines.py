"""The machines of machines.toml, made into trees of files."""

import tomllib
from pathlib import Path

_RECORD = tomllib.loads(Path(__file__).with_name("machines.toml").read_text(encoding="utf-8"))
_OS_RELEASE = _RECORD.pop("os_release")
_CPUINFO = _RECORD.pop("cpuinfo")
MACHINES = _RECORD
CLOCKS = "/sys/devices/system/clocksource/clocksource0/available_clocksource"


def files_of(machine: dict) -> dict[str, str]:
    """Path to content of each file."""
    files = dict(machine.get("files", {}))
    for field, value in machine.get("dmi", {}).items():
        files[f"/sys/class/dmi/id/{field}"] = value + "\n"
    for key, path, source in (
        ("kernel", "/proc/sys/kernel/osrelease", None),
        ("clocks", CLOCKS, None),
        ("os_release", "/etc/os-release", _OS_RELEASE),
        ("cpuinfo", "/proc/cpuinfo", _CPUINFO),
    ):
        if key in machine:
            files[path] = source[machine[key]].lstrip() if source else machine[key] + "\n"
    return files


def build(root: Path, machine: dict) -> Path:
    """The machine's tree below `root`, which it returns."""
    for path in machine.get("directories", []):
        below(root, path).mkdir(parents=True, exist_ok=True)
    for path, content in files_of(machine).items():
        put(root, path, content)
    for path, target in machine.get("links", {}).items():
        place = below(root, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    (root / "proc").mkdir(exist_ok=True)
    return root


def put(root: Path, path: str, content: str | bytes) -> Path:
    place = below(root, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content.encode() if isinstance(content, str) else content)
    return place


def below(root: Path, path: str) -> Path:
    return root / path.lstrip("/")
