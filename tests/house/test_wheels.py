"""Both wheels build, carry what they need, and work alone in a clean environment."""

import json
import subprocess
import sys
import venv
import zipfile

import pytest
from places import ROOT


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "client_sdk"):
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, project],
            check=True,
            capture_output=True,
        )
    return {path.name.split("-")[0]: path for path in out.glob("*.whl")}


def contents(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_servers_wheel_carries_schema_migrations_sql_pages_and_fields(wheels):
    inside = contents(wheels["license_telemetry_server"])
    source = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "telemetry_server").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert source - inside == set()
    assert "telemetry_server/schema.sql" in inside
    assert not any(name.startswith(("license_telemetry/", "tests/")) for name in inside)


def test_the_clients_wheel_carries_fields_and_types_and_nothing_else(wheels):
    inside = contents(wheels["license_telemetry_client"])
    assert {"license_telemetry/_fields.py", "license_telemetry/py.typed"} <= inside
    assert all(name.startswith(("license_telemetry/", "license_telemetry_client-")) for name in inside)


def test_the_client_works_alone_without_any_dependency(wheels, tmp_path):
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheels["license_telemetry_client"]).extractall(site)
    done = subprocess.run(
        [python, "-m", "license_telemetry", "facts"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert json.loads(done.stdout)["os"]["type"]


def test_the_server_starts_from_its_wheel_alone(wheels, tmp_path):
    """Installed apart from the source tree; the dependencies are those of this environment."""
    zipfile.ZipFile(wheels["license_telemetry_server"]).extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, 'site')\n"
        "import telemetry_server.app, telemetry_server.show.routes as r, telemetry_server.store.migrate as m\n"
        "from telemetry_server.check.fields import load_registry\n"
        "print(telemetry_server.__file__, len(m.released_migrations()), len(load_registry().fields), len(r.ROUTES))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    where, migrations, fields, routes = done.stdout.split()
    assert "site" in where
    assert int(migrations) >= 1
    assert int(fields) > 30
    assert int(routes) > 10
