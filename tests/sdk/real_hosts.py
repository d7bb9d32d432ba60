"""What the tests with real hosts share; the fixture `host` is in conftest."""

import shutil
from pathlib import Path

import license_telemetry
from patience import patient
from places import quick_directory

CLIENT = Path(license_telemetry.__file__).parent.parent
END_SECONDS = patient(60)


def place_in_memory():
    """For a fixture `tmp_path`: how slow a disk is must not decide these tests."""
    place = quick_directory()
    yield place
    shutil.rmtree(place)


def end(process, code=0):
    """What the host printed; it must have ended by itself and kept its standard error clean."""
    out, err = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, err) == (code, "")
    return out


def features(server):
    total = {}
    for made in server.pings:
        for name, count in made.get("usage", {}).get("features", {}).items():
            total[name] = total.get(name, 0) + count
    return total


def harvest_all(host):
    """Whoever comes next: takes what others have left behind, and sends it."""
    end(host("telemetry.feature('last')\nassert telemetry.flush(30), telemetry.status()"))
