"""The SDK as vendors ship it: frozen by PyInstaller, compiled by Nuitka, in a zipapp, as a vendored copy of its *.py files."""

import os
import shutil
import subprocess
import zipapp
from pathlib import Path

import pytest
from environments import APPS, CACHE, CLIENT

FULL = pytest.param("*", id="every file")
ONLY_PY = pytest.param("*.py", id="only *.py", marks=pytest.mark.small)


def copy_package(source, target, pattern):
    for file in source.rglob(pattern):
        if file.is_file() and "__pycache__" not in file.parts:
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)


def report(stand, *program, **more):
    """Runs the program twice to its end and kills it once at rest: each time 300 uses."""
    for _ in range(2):
        stand.run(*program[1:], program=program[0], **more)
    output = (stand.home / "stdout").read_text().split()
    assert output == ["worked", "True"] * 2, f"{output}: flush() did not report\n{stand.errors}"
    assert stand.summed().total() == 600, "what flush() said is not what the server has"
    process = stand.start(*program[1:], 60, program=program[0], **more)
    stand.until_returned(900)
    stand.kill(process)
    stand.judge(at_least=900)


# ── PyInstaller ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", ["onefile", "onedir"])
def test_a_frozen_program_loses_no_count(make_stand, form):
    stand = make_stand("pyinstaller", f"PyInstaller --{form}", "by itself; kill -9")
    build = stand.home / "build"
    arguments = [f"--{form}", "--name", "acme", "--distpath", build / "dist", "--workpath", build / "work"]
    arguments += ["--specpath", build, "--paths", APPS, "--paths", CLIENT, "--log-level", "ERROR"]
    done = subprocess.run(
        [stand.python, "-m", "PyInstaller", *map(str, arguments), str(APPS / "packaged.py")],
        env={**os.environ, "PYINSTALLER_CONFIG_DIR": str(CACHE / "pyinstaller")},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    program = build / "dist" / "acme"
    report(stand, str(program / "acme" if form == "onedir" else program), PYTHONPATH="")


# ── Nuitka ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(1200)
def test_a_compiled_program_loses_no_count(make_stand):
    """Against the Python that is installed: what else Nuitka offers differs in how the files are packed."""
    if not (shutil.which("gcc") or shutil.which("clang")):
        pytest.skip("there is no C compiler")
    stand = make_stand("nuitka", "Nuitka --mode=accelerated", "by itself; kill -9")
    build = stand.home / "build"
    arguments = ["--mode=accelerated", "--jobs=1", f"--output-dir={build}", "--output-filename=acme"]
    arguments += ["--include-package=license_telemetry", "--include-module=counting"]
    done = subprocess.run(
        [stand.python, "-m", "nuitka", *arguments, str(APPS / "packaged.py")],
        env={**os.environ, "PYTHONPATH": f"{CLIENT}:{APPS}", "NUITKA_CACHE_DIR": str(CACHE / "nuitka-cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=1000,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report(stand, str(build / "acme"), PYTHONPATH="")


# ── zipapp ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pattern", [FULL, ONLY_PY])
def test_a_zipapp_loses_no_count(make_stand, pattern):
    stand = make_stand(None, f"zipapp with {pattern}", "by itself; kill -9")
    tree = stand.home / "tree"
    copy_package(CLIENT / "license_telemetry", tree / "license_telemetry", pattern)
    shutil.copy(APPS / "counting.py", tree)
    shutil.copy(APPS / "packaged.py", tree / "__main__.py")
    zipapp.create_archive(tree, stand.home / "acme.pyz")
    report(stand, stand.python, stand.home / "acme.pyz", PYTHONPATH="")


# ── vendored ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pattern", [FULL, ONLY_PY])
def test_a_vendored_copy_loses_no_count(make_stand, pattern):
    """Under another name, as tools for vendoring rewrite it."""
    stand = make_stand(None, f"vendored with {pattern}", "by itself; kill -9")
    vendor = stand.home / "acme" / "_vendor"
    copy_package(CLIENT / "license_telemetry", vendor / "license_telemetry", pattern)
    for package in (vendor, vendor.parent):
        (package / "__init__.py").touch()
    for name in ("counting.py", "packaged.py"):
        text = (
            (APPS / name).read_text().replace("from license_telemetry", "from acme._vendor.license_telemetry")
        )
        (stand.home / name).write_text(text)
    report(stand, stand.python, Path("packaged.py"), PYTHONPATH=str(stand.home))
