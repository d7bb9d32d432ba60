"""Seconds of CPU that programs used, with the processes they started: what a shared machine does not distort."""

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PARENT, _TIMES = (
    1,
    slice(11, 15),
)  # in /proc/PID/stat behind the name: user and system, own and of ended children


def used(*roots):
    """Seconds used so far by each of the processes `roots` and what descends from it, apart from other roots."""
    times, children = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text("utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(path.parent.name)
        times[pid] = sum(map(int, fields[_TIMES])) / _TICK
        children.setdefault(int(fields[_PARENT]), []).append(pid)

    def of(pid):
        others = (child for child in children.get(pid, ()) if child not in roots)
        return times.get(pid, 0) + sum(map(of, others))

    return [of(root) for root in roots]


def postmaster(data):
    """The process of the embedded PostgreSQL."""
    return int(Path(data, "postgres", "postmaster.pid").read_text("utf-8").split()[0])
