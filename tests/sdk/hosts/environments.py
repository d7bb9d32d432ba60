"""The hosts as their users install them: a virtual environment per Python and host, made once, in .cache/hosts.

PINS has all versions: pip takes the newest within them that the Python supports. The first package is the host.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from places import ROOT

CACHE = ROOT / ".cache" / "hosts"
CLIENT = ROOT / "client_sdk"
APPS = Path(__file__).parent / "apps"
INSTALL_SECONDS = 600

PINS = {
    "gunicorn": ["gunicorn>=23,<28"],
    "gevent": ["gunicorn[gevent]>=23,<28", "gevent>=24.2,<27"],
    "eventlet": ["gunicorn>=23,<24", "eventlet>=0.39,<0.42"],  # later ones have no worker for it
    "uvicorn": ["uvicorn>=0.33,<1", "gunicorn>=23,<28"],
    "uwsgi": ["uWSGI>=2.0.28,<2.1"],
    "celery": ["celery>=5.5,<6", "redis>=6,<9", "packaging"],  # kombu needs it and doesn't say so
    "django": ["Django>=4.2,<7"],
    "pyinstaller": ["pyinstaller>=6,<7"],
    "nuitka": ["Nuitka>=2,<5"],
}


@cache
def pythons():
    """Path by version ("3.11") of every Python from 3.8 to 3.13 here: pyenv's, those on the path, ours."""
    found = [Path(sys.executable)]
    found += [Path(path) for minor in range(8, 14) if (path := shutil.which(f"python3.{minor}"))]
    found += sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin/python"))
    versions = {}
    for path in found:
        asked = [path, "-I", "-c", "import sqlite3, sys; print('%d.%d' % sys.version_info[:2])"]
        version = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if re.fullmatch(r"3\.([89]|1[0-3])", version):
            versions.setdefault(version, path)
    return dict(sorted(versions.items(), key=lambda item: int(item[0][2:])))


def environment(version, python, host):
    """The Python of the environment with `host` in it, without the SDK. Raises RuntimeError with pip's words."""
    home = CACHE / f"{version}-{host}"
    wanted = hashlib.sha256("\n".join([str(python), *PINS[host]]).encode()).hexdigest()
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(f"{home}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        stamp = home / "installed"
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(home, ignore_errors=True)
            _run([python, "-m", "venv", home])
            _run([home / "bin" / "python", "-m", "pip", "install", "--quiet", *PINS[host]])
            stamp.write_text(wanted)
    return home / "bin" / "python"


def versions(python, host):
    """What is installed of PINS, "gunicorn 23.0.0, gevent 24.2.1"; "-" for Python alone."""
    if not host:
        return "-"
    names = [re.match(r"\w+", pin)[0] for pin in PINS[host]]
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    found = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True)
    return ", ".join(map(" ".join, zip(names, found.stdout.split(), strict=True)))


def _run(command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
